// A blind test: the order is drawn for each listener, answers are kept in the browser and handed out as files.
// mushra.js or abx.js says what a trial is.
const FORMAT = "ear-sat listening answers 1";
const HEARD_SECONDS = 1; // of a version, after which it counts as heard
const study = JSON.parse(element("study").textContent);
const key = JSON.parse(new TextDecoder().decode(bytesOf(study.key)));
const storageName = `ear-sat listening ${study.id}`;
options.rate = study.rate;
let session = null;

function element(id) {
  return document.getElementById(id);
}

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Chance.

function shuffled(list) {
  const keyed = list.map((item) => [crypto.getRandomValues(new Uint32Array(1))[0], item]);
  return keyed.sort((one, other) => one[0] - other[0]).map(([, item]) => item);
}

function oneOf(first, second) {
  return crypto.getRandomValues(new Uint8Array(1))[0] & 1 ? first : second;
}

// What names stand for.

function nameOf(version) {
  return key.versions[version];
}

function referenceOf(clip) {
  return clip.versions.find((version) => nameOf(version) === "reference");
}

function clipOf(trial) {
  return study.clips.find((clip) => clip.name === trial.clip);
}

// The session.

function keep() {
  try {
    localStorage.setItem(storageName, JSON.stringify(session));
  } catch {
    element("not-kept").hidden = false;
  }
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(storageName));
  } catch {
    element("not-kept").hidden = false;
    return null;
  }
}

function begin(listener) {
  const id = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const { id: test, method } = study;
  session = { format: FORMAT, study: test, method, listener, session: id, began: new Date().toISOString() };
  Object.assign(session, { trained: false, trials: drawTrials() });
  keep();
  resume();
}

function resume() {
  session = session || kept();
  for (const id of ["start", "trial", "end"]) element(id).hidden = true;
  element("session").hidden = !session;
  if (!session) {
    element("start").hidden = false;
    return;
  }
  element("name").textContent = session.listener;
  const trial = session.trials.find((each) => !each.done);
  if (!trial) showEnd();
  else if (TRAINING && !session.trained) showTraining(shuffled(study.clips), 0);
  else showTrial(trial);
}

// Trials.

class BlindPlayer extends Player {
  // heard: seconds for which each version has sounded.
  constructor(card, addresses, heard, onHeard) {
    super(card, addresses);
    Object.assign(this, { heard, onHeard });
    this.versions.forEach((button, index) => button.classList.toggle("heard", heard[index] >= HEARD_SECONDS));
  }

  tick() {
    const now = context.currentTime;
    const before = this.heard[this.active];
    this.heard[this.active] += Math.min(now - (this.ticked ?? now), 0.2);
    this.ticked = now;
    if (before < HEARD_SECONDS && this.heard[this.active] >= HEARD_SECONDS) {
      this.versions[this.active].classList.add("heard");
      this.onHeard();
    }
    super.tick();
  }

  select(index) {
    super.select(index);
    // The keyboard rates what is heard, and Space stays with playing.
    const rating = this.card.querySelectorAll(".rating")[index - 1];
    if (index < this.versions.length) (rating || this.card).focus({ preventScroll: true });
  }

  show() {
    super.show();
    const text = this.region[1].parentElement.querySelector("output");
    text.textContent = `Loop ${this.from.toFixed(1)}–${this.to.toFixed(1)} s`;
  }
}

// labels: of the buttons; sounds: the versions they play, by their names here; fill: puts the rest into the card.
function showCard(clip, labels, sounds, fill, heard, onHeard) {
  if (current) current.leave();
  current = null;
  const card = element("card");
  card.className = "clip"; // not that of the clip before
  card.dataset.seconds = clip.seconds;
  card.replaceChildren(element("player").content.cloneNode(true));
  for (const input of card.querySelectorAll(".seek input, .region input")) input.max = clip.seconds;
  for (const label of labels) {
    const button = make("button", { className: "version", type: "button", textContent: label });
    button.setAttribute("role", "radio");
    card.querySelector(".choices").append(button);
  }
  fill(card);
  const addresses = sounds.map((version) => element(version).src);
  players = [new BlindPlayer(card, addresses, heard, onHeard)];
  card.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function showProgress(text, done, all) {
  element("trial").hidden = false;
  element("heading").textContent = text;
  Object.assign(element("progress"), { value: done, max: all });
}

// text: what is still to be done, or nothing.
function showMissing(text, label = "Next") {
  element("missing").textContent = text;
  element("next").disabled = text !== "";
  element("next").textContent = label;
}

let onNext = () => {};
element("next").addEventListener("click", () => onNext());
element("who").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(element("listener").value.trim() || "unnamed");
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.repeat || element("trial").hidden || element("next").disabled) return;
  if (!event.target.closest("button, summary")) element("next").click();
});

// Answers as files.

function answers() {
  return JSON.stringify({ ...session, saved: new Date().toISOString(), key: study.key }, null, 1);
}

function table() {
  const quoted = (cell) => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell);
  const rows = [["listener", ...COLUMNS], ...tableRows().map((row) => [session.listener, ...row])];
  return rows.map((row) => row.map(quoted).join(",") + "\n").join("");
}

function download(text, kind, suffix) {
  const name = session.listener.replace(/[^\p{L}\p{N}]+/gu, "-");
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: kind })) });
  link.download = `listening-${study.method}-${name}-${study.id}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

for (const id of ["save", "save-json"]) {
  element(id).addEventListener("click", () => download(answers(), "application/json", "json"));
}
element("save-csv").addEventListener("click", () => download(table(), "text/csv", "csv"));
element("erase").addEventListener("click", () => {
  if (!confirm(`Erase the answers of ${session.listener} from this browser?`)) return;
  if (current) current.leave();
  localStorage.removeItem(storageName);
  location.reload();
});

function showEnd() {
  if (current) current.leave();
  element("card").replaceChildren();
  players = [];
  element("end").hidden = false;
  element("save").hidden = true; // there is another one above
  const outcome = outcomeTable();
  element("outcome").hidden = !outcome;
  if (outcome) element("outcome").replaceChildren(outcome);
}
