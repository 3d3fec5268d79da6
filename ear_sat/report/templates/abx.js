// ABX: is X the reference or the system? A pair is a clip and a system; it has all its trials in a row.
const TRAINING = false;
const COLUMNS = ["pair", "clip", "version", "trial", "x", "answer", "correct"];
const LABELS = ["A", "B", "X"];

function drawTrials() {
  const pairs = study.clips.flatMap((clip) => {
    const reference = referenceOf(clip);
    return clip.versions.filter((version) => version !== reference).map((version) => ({ clip: clip.name, pair: shuffled([reference, version]) }));
  });
  return shuffled(pairs).map(({ clip, pair }) => ({
    clip,
    pair,
    x: Array.from({ length: study.trials }, () => oneOf(...pair)),
    answers: [],
    heard: [0, 0, 0],
    done: false,
  }));
}

function showTrial(trial) {
  const { pair, x, answers } = trial;
  const pairs = session.trials.length;
  const done = session.trials.reduce((sum, each) => sum + each.answers.length, 0);
  const which = pairs > 1 ? `Pair ${session.trials.indexOf(trial) + 1} of ${pairs}, trial` : "Trial";
  let answer = null;
  showProgress(`${which} ${answers.length + 1} of ${x.length}`, done, pairs * x.length);
  const update = () => {
    keep();
    const unheard = LABELS.filter((_, index) => trial.heard[index] < HEARD_SECONDS);
    const parts = [unheard.length && `hear ${unheard.join(", ")}`, answer === null && "say which one X is"];
    const text = parts.filter(Boolean).join("; ");
    showMissing(text && `Still to do: ${text}.`);
  };
  const fill = (card) => {
    const buttons = LABELS.slice(0, 2).map((label, index) => {
      const button = make("button", { className: "answer", type: "button", textContent: `X is ${label}`, ariaPressed: "false" });
      button.addEventListener("click", () => {
        answer = pair[index];
        buttons.forEach((each) => (each.ariaPressed = String(each === button)));
        card.focus({ preventScroll: true });
        update();
      });
      return button;
    });
    card.append(make("div", { className: "answers" }, ...buttons));
  };
  showCard(clipOf(trial), LABELS, [...pair, x[answers.length]], fill, trial.heard, update);
  update();
  onNext = () => {
    answers.push(answer);
    trial.heard = [0, 0, 0];
    trial.done = answers.length === x.length;
    keep();
    resume();
  };
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !players.length) return;
  const version = LABELS.indexOf(event.key.toUpperCase());
  if (version >= 0) players[0].select(version);
  if (event.target.closest("input")) return; // the arrows move its handle
  const answer = ["ArrowLeft", "ArrowRight"].indexOf(event.key);
  if (answer >= 0) document.querySelectorAll(".answer")[answer].click();
});

function correctOf({ x, answers }) {
  return answers.filter((answer, index) => answer === x[index]).length;
}

// Chance of so many correct answers or more by guessing.
function chanceOf(correct, trials) {
  let term = 0.5 ** trials; // of none
  let sum = 0;
  for (let count = 0; count <= trials; count++) {
    if (count >= correct) sum += term;
    term *= (trials - count) / (count + 1);
  }
  return sum;
}

function tableRows() {
  return session.trials.flatMap(({ clip, pair, x, answers }, index) => {
    const system = pair.map(nameOf).find((name) => name !== "reference");
    return answers.map((answer, turn) => [index + 1, key.clips[clip], system, turn + 1, nameOf(x[turn]), nameOf(answer), Number(answer === x[turn])]);
  });
}

function outcomeTable() {
  const cell = (text, tag = "td") => make(tag, { textContent: text });
  const rows = session.trials.map((trial, index) => {
    const correct = correctOf(trial);
    const chance = chanceOf(correct, trial.x.length);
    return make("tr", {}, cell(String(index + 1)), cell(`${correct} of ${trial.x.length}`), cell(chance < 0.001 ? "< 0.001" : chance.toFixed(3)));
  });
  const head = make("tr", {}, ...["Pair", "Correct", "Chance of so many by guessing"].map((text) => cell(text, "th")));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}
