"""What listeners answered: merged, screened, and counted by hand."""

import csv
import json
import math

import pytest
from scipy import stats

from ear_sat.cli.main import main
from ear_sat.listening import evaluate_answers, merge_answers, read_answers
from ear_sat.listening.anchors import LOW, MID
from ear_sat.listening.answers import FORMAT, Block, Rating
from ear_sat.listening.chance import outcome
from ear_sat.listening.key import draw_names
from ear_sat.listening.scores import score
from ear_sat.listening.screening import screen

VERSIONS = ["reference", LOW, MID, "fine", "poor"]


def mushra_answers(path, listener, scores, clips=2, session=None, study="s1", seed=0):
    """Writes answers as the page does: ``scores`` says of each version what each clip got, or what all got."""
    key, drawn = draw_names({f"song {index}": VERSIONS for index in range(clips)}, seed)
    trials = []
    for clip, names in drawn.items():
        index = int(key.clips[clip].split()[1])
        values = [scores[key.versions[name]] for name in names]
        given = [value[index] if isinstance(value, list) else value for value in values]
        done = None not in given
        trials.append({"clip": clip, "versions": names, "scores": given, "heard": [2.0] * 6, "done": done})
    content = {"format": FORMAT, "study": study, "method": "mushra", "listener": listener, "trials": trials}
    content |= {"session": session or listener, "began": "2026-01-01T00:00:00Z", "trained": True, "key": key.encode()}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def abx_answers(path, listener, correct, trials=16, study="s1"):
    """``correct``: (clip, system) → how many of the trials are right; fewer answers than trials where negative."""
    clips = sorted({clip for clip, _ in correct})
    key, drawn = draw_names({clip: ["reference", "fine", "poor"] for clip in clips}, 0)
    entries = []
    for clip, names in drawn.items():
        by_name = {key.versions[name]: name for name in names}
        for system in ("fine", "poor"):
            count = correct.get((key.clips[clip], system))
            if count is None:
                continue
            pair = [by_name[system], by_name["reference"]]
            x = [pair[turn % 2] for turn in range(trials)]
            answers = [name if turn < count else pair[pair[0] == name] for turn, name in enumerate(x)]
            done = count >= 0
            entry = {"clip": clip, "pair": pair, "x": x, "answers": answers if done else answers[:3]}
            entries.append({**entry, "heard": [0, 0, 0], "done": done})
    content = {"format": FORMAT, "study": study, "method": "abx", "listener": listener, "session": listener}
    path.write_text(json.dumps({**content, "trials": entries, "key": key.encode()}), encoding="utf-8")
    return path


GOOD = {"reference": 100, LOW: 10, MID: 40, "fine": 80, "poor": 50}


def test_scores_by_hand(tmp_path):
    by_listener = {
        "Ann": [Rating("a", "fine", 80), Rating("b", "fine", 60), Rating("a", "poor", 10)],
        "Ben": [Rating("a", "fine", 90), Rating("b", "fine", 80)],
        "Cem": [Rating("a", "fine", 60), Rating("b", "fine", 50)],
    }
    found = score(by_listener, "fine")
    means = [70, 85, 55]
    half = 4.302653 * 15 / math.sqrt(3)  # t(0.975, 2), standard deviation 15
    assert found.mean == 70 and found.low == pytest.approx(70 - half) and found.high == pytest.approx(70 + half)
    expected = stats.t.interval(0.95, 2, loc=70, scale=stats.sem(means))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.median == 70 and (found.listeners, found.ratings) == (3, 6)
    alone = score(by_listener, "poor")
    assert alone.mean == 10 and math.isnan(alone.low) and alone.listeners == 1
    assert score(by_listener, "fine", "a").mean == pytest.approx((80 + 90 + 60) / 3)
    assert score(by_listener, "other") is None


@pytest.mark.parametrize(
    ("items", "below", "excluded"),
    [(20, 3, False), (20, 4, True), (8, 1, False), (8, 2, True), (6, 1, True), (5, 0, False)],
)
def test_who_misses_the_reference_in_more_than_15_percent_is_excluded(items, below, excluded):
    ratings = [Rating(str(i), "reference", 89 if i < below else 90) for i in range(items)]
    assert screen(ratings).excluded is excluded
    mid = [Rating(str(i), MID, 91 if i < below else 90) for i in range(items)]
    screened = screen([*(Rating(str(i), "reference", 100) for i in range(items)), *mid])
    assert screened.flagged is excluded and not screened.excluded


def test_mushra_results(tmp_path, capsys):
    files = [
        mushra_answers(tmp_path / "ann.json", "Ann", GOOD),
        mushra_answers(tmp_path / "ben.json", "Ben", {**GOOD, "fine": [90, 70], MID: [95, 30]}),
        mushra_answers(tmp_path / "cem.json", "Cem", {**GOOD, "reference": [100, 60], "fine": 0}),
    ]
    out = tmp_path / "out"
    assert main(["listening-results", *map(str, files), "--out", str(out)]) == 0
    data = json.loads((out / "listening.json").read_text(encoding="utf-8"))
    rows = {row["version"]: row for row in data["tables"]["Scores"]["rows"]}
    assert list(rows) == ["reference", "fine", MID, "poor", LOW]  # the best first
    assert (rows["fine"]["mean"], rows["fine"]["listeners"], rows["fine"]["ratings"]) == (80, 2, 4)
    assert rows["fine"]["low"] == rows["fine"]["high"] == 80  # both listeners' means are 80
    everybody = {row["version"]: row for row in data["tables"]["Scores without post-screening"]["rows"]}
    assert everybody["fine"]["mean"] == pytest.approx(160 / 3) and everybody["fine"]["listeners"] == 3
    screening = {row["listener"]: row for row in data["tables"]["Listeners"]["rows"]}
    assert [row["post-screening"] for row in screening.values()] == ["kept", "kept", "excluded"]
    notes = " ".join(data["notes"])
    assert "Cem was excluded: the hidden reference is below 90 in 1 of 2 clips" in notes
    assert "Ben rated the 7 kHz anchor above 90 in 1 of 2 clips" in notes and "2 listener(s) count" in notes
    with (out / "listening.csv").open(encoding="utf-8", newline="") as file:
        raw = list(csv.DictReader(file))
    assert len(raw) == 3 * 2 * 5 and {row["kept"] for row in raw if row["listener"] == "Cem"} == {"False"}
    markdown = (out / "listening.md").read_text(encoding="utf-8")
    assert "Student's t" in markdown and "Scores per clip" in markdown
    printed = capsys.readouterr().out
    assert "Cem was excluded" in printed and "Scores per clip" not in printed


def test_nobody_passes(tmp_path):
    results = evaluate_answers([read_answers(mushra_answers(tmp_path / "a.json", "Ann", {**GOOD, "reference": 50}))])
    assert results.tables[0].rows == [] and len(results.tables[1].rows) == 5
    results.print()


@pytest.mark.parametrize(("correct", "trials"), [(0, 16), (8, 16), (12, 16), (16, 16), (5, 5), (60, 100)])
def test_p_is_that_of_the_binomial_distribution(correct, trials):
    found = outcome([Block("a", "x", correct, trials)])
    assert found.p == pytest.approx(stats.binom.sf(correct - 1, trials, 0.5))
    by_hand = sum(math.comb(trials, count) for count in range(correct, trials + 1)) / 2**trials
    assert found.p == pytest.approx(by_hand)
    assert found.low <= correct / trials <= found.high


def test_abx_results(tmp_path, capsys):
    ann = {("a", "fine"): 9, ("b", "fine"): 8, ("a", "poor"): 16, ("b", "poor"): -1}
    ben = {("a", "fine"): 7, ("b", "fine"): 10, ("a", "poor"): 15}
    files = [abx_answers(tmp_path / "ann.json", "Ann", ann), abx_answers(tmp_path / "ben.json", "Ben", ben)]
    assert main(["listening-results", *map(str, files), "--out", str(tmp_path / "out")]) == 0
    data = json.loads((tmp_path / "out" / "listening.json").read_text(encoding="utf-8"))
    rows = {row["system"]: row for row in data["tables"]["Systems"]["rows"]}
    assert (rows["fine"]["correct"], rows["fine"]["trials"]) == (34, 64)
    assert (rows["poor"]["correct"], rows["poor"]["trials"]) == (31, 32)  # the unfinished pair does not count
    assert rows["poor"]["p"] == pytest.approx(stats.binom.sf(30, 32, 0.5)) and rows["fine"]["p"] > 0.3
    listeners = {(row["system"], row["listener"]): row["correct"] for row in data["tables"]["Listeners"]["rows"]}
    assert listeners == {("fine", "Ann"): 17, ("fine", "Ben"): 17, ("poor", "Ann"): 16, ("poor", "Ben"): 15}
    assert "Ann finished 3 of 4" in capsys.readouterr().out


def test_one_session_saved_twice_counts_once(tmp_path):
    whole = read_answers(mushra_answers(tmp_path / "whole.json", "Ann", GOOD))
    early = read_answers(mushra_answers(tmp_path / "early.json", "Ann", {**GOOD, "fine": [80, None]}))
    assert (early.done, early.planned, len(early.ratings)) == (1, 2, 5)
    for order in ([whole, early], [early, whole]):
        merged, notes = merge_answers(order)
        assert merged == [whole] and notes == ["early.json was left out: whole.json is of the same session"]
    merged, notes = merge_answers([early])
    assert notes == ["Ann finished 1 of 2"]


def broken(tmp_path, **changes):
    path = mushra_answers(tmp_path / "a.json", "Ann", GOOD)
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    return [path]


def with_trial(tmp_path, **changes):
    trials = json.loads(mushra_answers(tmp_path / "a.json", "Ann", GOOD).read_text(encoding="utf-8"))["trials"]
    return broken(tmp_path, trials=[{**trials[0], **changes}])


def text_file(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    return [tmp_path / "a.json"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [folder / "absent.json"], "no such file"),
        (lambda folder: [folder], "is a folder; give the JSON files in it"),
        (lambda folder: text_file(folder, ""), "is not valid JSON"),
        (lambda folder: text_file(folder, '{"format": "ear-sat'), "is not valid JSON"),
        (lambda folder: text_file(folder, "[]"), "must hold a JSON object"),
        (lambda folder: text_file(folder, '{"settings": {}}'), "holds no answers of a listening test"),
        (lambda folder: text_file(folder, json.dumps({"format": FORMAT})), "needs the keys"),
        (lambda folder: broken(folder, method="abc"), "unknown"),
        (lambda folder: broken(folder, listener=3), "listener must be"),
        (lambda folder: broken(folder, key="e30="), "is damaged"),
        (lambda folder: broken(folder, trials=[3]), "trials[0] must be"),
        (lambda folder: broken(folder, trials=[]), "nobody has finished a trial"),
        (lambda folder: broken(folder, method="abx"), "trials[0]"),
        (lambda folder: with_trial(folder, done=False), "nobody has finished a trial"),
        (lambda folder: with_trial(folder, clip="n000000"), "is damaged"),
        (lambda folder: with_trial(folder, scores=[1, 2]), "is damaged"),
        (lambda folder: with_trial(folder, scores=[1, 2, 3, 4, 101]), "scores[4] must be"),
        (
            lambda folder: [
                mushra_answers(folder / "a.json", "Ann", GOOD),
                mushra_answers(folder / "b.json", "Ben", GOOD, study="s2"),
            ],
            "answers to different tests",
        ),
        (
            lambda folder: [
                mushra_answers(folder / "a.json", "Ann", GOOD, session="1"),
                mushra_answers(folder / "b.json", "Ann", GOOD, session="2"),
            ],
            "two sessions of the listener Ann",
        ),
    ],
)
def test_user_errors_are_one_line(tmp_path, capsys, make, message):
    assert main(["listening-results", *map(str, make(tmp_path)), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path, capsys):
    path = mushra_answers(tmp_path / "a.json", "Ann", GOOD)
    assert main(["listening-results", str(path), "--out", str(path)]) == 1
    assert "is a file; give a folder" in capsys.readouterr().err
