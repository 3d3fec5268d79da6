// MUSHRA (BS.1534): every version of a clip is rated against the open reference.
const TRAINING = true;
const COLUMNS = ["trial", "clip", "version", "score"];
const WORDS = ["Bad", "Poor", "Fair", "Good", "Excellent"];

function drawTrials() {
  return shuffled(study.clips).map(({ name, versions }) => ({
    clip: name,
    versions: shuffled(versions),
    scores: versions.map(() => null),
    heard: [0, ...versions.map(() => 0)],
    done: false,
  }));
}

function showTraining(clips, index) {
  const clip = clips[index];
  const versions = shuffled(clip.versions);
  showProgress(`Training, excerpt ${index + 1} of ${clips.length}`, index, clips.length);
  showVersions(clip, versions, null, versions.map(() => 0).concat(0), () => {});
  const last = index === clips.length - 1;
  showMissing("", last ? "Start the test" : "Next excerpt");
  element("missing").textContent = "Nothing is rated yet: hear what there is, and set the volume.";
  onNext = () => {
    if (!last) return showTraining(clips, index + 1);
    session.trained = true;
    keep();
    resume();
  };
}

function showTrial(trial) {
  const update = () => {
    keep();
    showMissing(missing(trial));
  };
  const [done, all] = [session.trials.indexOf(trial), session.trials.length];
  showProgress(`Excerpt ${done + 1} of ${all}`, done, all);
  showVersions(clipOf(trial), trial.versions, trial.scores, trial.heard, update);
  update();
  onNext = () => {
    trial.done = true;
    keep();
    resume();
  };
}

function missing({ scores, heard }) {
  const labels = ["the reference", ...scores.map((_, index) => String(index + 1))];
  const unheard = labels.filter((_, index) => heard[index] < HEARD_SECONDS);
  const unrated = labels.slice(1).filter((_, index) => scores[index] === null);
  const parts = [unheard.length && `hear ${unheard.join(", ")}`, unrated.length && `rate ${unrated.join(", ")}`];
  const text = parts.filter(Boolean).join("; ");
  return text && `Still to do: ${text}.`;
}

// scores: null in the training. Each version's button stands beside its slider.
function showVersions(clip, versions, scores, heard, update) {
  const labels = ["Reference", ...versions.map((_, index) => String(index + 1))];
  const fill = (card) => {
    const buttons = [...card.querySelectorAll(".version")].slice(1);
    const rows = buttons.map((button, index) => make("div", { className: "row" }, button, ...(scores ? ratingOf(scores, index, update) : [])));
    const scale = make("div", { className: "words", ariaHidden: "true" }, ...WORDS.map((word) => make("span", { textContent: word })));
    card.append(make("div", { className: scores ? "ratings" : "ratings training" }, ...(scores ? [scale] : []), ...rows));
  };
  showCard(clip, labels, [referenceOf(clip), ...versions], fill, heard, update);
}

function ratingOf(scores, index, update) {
  const slider = make("input", { className: "rating", type: "range", min: 0, max: 100, step: 1, ariaLabel: `Rating of version ${index + 1}` });
  const text = make("output");
  const show = () => {
    const score = scores[index];
    slider.value = score ?? 50;
    slider.classList.toggle("unrated", score === null);
    text.textContent = score === null ? "not rated" : `${score} ${WORDS[Math.min(4, Math.floor(score / 20))]}`;
    slider.setAttribute("aria-valuetext", text.textContent);
  };
  const rate = () => {
    if (scores[index] === Number(slider.value)) return;
    scores[index] = Number(slider.value);
    show();
    update();
  };
  // A click on the handle moves nothing and still says: as it stands.
  for (const event of ["input", "click"]) slider.addEventListener(event, rate);
  show();
  return [slider, text];
}

function tableRows() {
  return session.trials.flatMap((trial, index) =>
    trial.versions.map((version, place) => [index + 1, key.clips[trial.clip], nameOf(version), trial.scores[place]]),
  );
}

function outcomeTable() {
  return null;
}
