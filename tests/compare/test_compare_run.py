"""From a plan to a page: trained once, measured once, whatever happens in between."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ear_sat import UserError
from ear_sat.cli.main import main
from ear_sat.compare import compare, load_plan
from ear_sat.compare.curves import learning_curve
from ear_sat.compare.measuring import measure_run
from ear_sat.compare.results import write_results
from ear_sat.compare.run import read_comparison, work
from ear_sat.compare.training import settings_of
from ear_sat.training.run.metrics_csv import MetricsCsv

pytestmark = pytest.mark.slow


def changed(folder: Path) -> dict[str, int]:
    """Times of all files of a comparison, but for its own tables and pages."""
    files = [path for name in ("runs", "results", "excerpts") for path in (folder / name).rglob("*")]
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


def test_a_plan_from_beginning_to_end(
    write_plan: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compare", str(write_plan()), "--out", str(out), "--device", "cpu", "--audio", "1"]) == 0
    folder = out / "plan"
    rows = list(csv.DictReader((folder / "results.csv").open(encoding="utf-8")))
    found = [(row["tracks"], row["variant"], row["seed"], row["track"]) for row in rows]
    expected = [("development", v, s, t) for v in ("base", "plain") for s in "12" for t in "ab"]
    assert sorted(found) == sorted(expected) and all(row["error"] == "" for row in rows)
    means = {
        variant: sum(float(row["si_sdr_db"]) for row in rows if row["variant"] == variant) / 4
        for variant in ("base", "plain")
    }
    summary = json.loads((folder / "results.json").read_text(encoding="utf-8"))["summaries"]["development"]["si_sdr_db"]
    assert {name: summary[name]["value"]["mean"] for name in means} == pytest.approx(means)
    assert summary["plain"]["difference"]["mean"] == pytest.approx(means["plain"] - means["base"])
    plan = load_plan(write_plan())
    comparison = read_comparison(plan, out)
    curve = learning_curve([comparison.courses[run] for run in comparison.runs_of("base")], "si_sdr_db")
    assert curve is not None and curve.rounds == [0, 1, 2, 3] and curve.seeds == 2
    assert curve.seconds == sorted(curve.seconds) and curve.seconds[0] == 0 < curve.seconds[-1]
    series = [dict(MetricsCsv.read(run.folder.metrics_csv)["held_out/si_sdr_db"]) for run in comparison.runs_of("base")]
    assert curve.mean == pytest.approx([(series[0][n] + series[1][n]) / 2 for n in curve.rounds])
    assert series[0] != series[1], "seeds reach the training"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:audio/mpeg") == 3 and "Development tracks" in page and "Test tracks" not in page

    before = changed(out)
    capsys.readouterr()
    assert main(["compare", str(write_plan()), "--out", str(out), "--device", "cpu", "--audio", "none"]) == 0
    assert changed(out) == before and "4 run(s) finished, 0 failed" in capsys.readouterr().out
    assert "data:audio" not in (folder / "report.html").read_text(encoding="utf-8")

    # The test tracks are measured of what is confirmed, and nothing is trained for it.
    assert main(["compare", str(write_plan()), "--out", str(out), "--device", "cpu", "--confirm", "plain"]) == 0
    rows = list(csv.DictReader((folder / "results.csv").open(encoding="utf-8")))
    assert {row["variant"] for row in rows if row["tracks"] == "test"} == {"plain"}
    assert {name: when for name, when in changed(out).items() if "/runs/" in name} == {
        name: when for name, when in before.items() if "/runs/" in name
    }
    assert "not measured on these tracks" in (folder / "report.html").read_text(encoding="utf-8")

    # Another plan shares what they have in common.
    other = write_plan("other", seeds=[1], variants=[{"name": "base"}, {"name": "third", "batch_size": 1}])
    assert main(["compare", str(other), "--out", str(out), "--device", "cpu", "--only", "base"]) == 0
    assert {**changed(out), **before} == changed(out)
    text = (out / "other" / "results.md").read_text(encoding="utf-8")
    assert text.count("not run") == 2  # of the third: in the list of variants, and on the development tracks

    # And a variant that has changed is not mistaken for what was trained.
    with pytest.raises(UserError, match=r"base-seed1 was trained with other settings \(rounds\)"):
        compare(load_plan(write_plan(rounds=5)), out, device="cpu")


def test_a_new_track_is_measured_and_a_changed_one_again(
    write_plan: Callable[..., Path], music: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_plan(write_plan(seeds=[1], variants=[{"name": "base"}]))
    comparison = compare(plan, tmp_path / "out", device="cpu")
    (measurement,) = comparison.measurements["development"].values()
    first = measurement.results()
    development = music["development"]
    (development / "a.wav").write_bytes((music["test"] / "a.wav").read_bytes())
    (development / "c.wav").write_bytes((music["test"] / "b.wav").read_bytes())
    assert set(measurement.results()) == {"b"}
    measured: list[str] = []
    import ear_sat.compare.measuring as module

    original = module.measure_pair
    monkeypatch.setattr(module, "measure_pair", lambda pair: measured.append(pair.file) or original(pair))
    measure_run(measurement, "cpu")
    again = measurement.results()
    assert measured == ["a", "c"] and again["b"] == first["b"] and again["a"].values != first["a"].values
    assert not list((tmp_path / "out" / "excerpts").rglob("*whole*"))


def test_a_run_that_fails_is_named_and_the_others_go_on(
    write_plan: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = [{"name": "bad", "flags": ["--num-workers", "0", "--precision", "64-false-friend"]}, {"name": "good"}]
    out = tmp_path / "out"
    arguments = ["compare", str(write_plan(seeds=[1], variants=variants)), "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert "failed: bad-seed1: ear-sat train ended with exit code 1: error: Lightning refuses these flags" in printed
    assert "1 run(s) finished, 1 failed" in printed
    page = (out / "plan" / "report.html").read_text(encoding="utf-8")
    assert "1 run(s) failed." in page and page.count("not run") >= 1


def test_minutes_end_a_run(write_plan: Callable[..., Path], tmp_path: Path) -> None:
    plan = load_plan(write_plan(seeds=[1], rounds=None, minutes=0.03, variants=[{"name": "base"}]))
    comparison = compare(plan, tmp_path / "out", device="cpu")
    rounds = [step for step, _ in MetricsCsv.read(comparison.runs[0].folder.metrics_csv)["train/loss/total"]]
    assert 3 < rounds[-1] < 3000  # 1.8 s of them


def test_a_dry_run_lists_the_runs_and_leaves_nothing(
    write_plan: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write_plan(rounds=6000, variants=[{"name": "base"}])
    assert main(["compare", str(plan), "--out", str(tmp_path / "out"), "--device", "cpu", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "base-seed1" in printed and "base-seed2" in printed and "minutes of training are left" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_random_it_ends_as_if_undisturbed(
    write_plan: Callable[..., Path], tmp_path: Path, how: signal.Signals
) -> None:
    plan = write_plan(seeds=[1], rounds=30)
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    began = time.monotonic()
    write_results(compare(load_plan(plan), undisturbed, device="cpu"), 1)
    took = time.monotonic() - began
    command = [sys.executable, "-m", "ear_sat", "compare", str(plan), "--out", str(out)]
    command += ["--device", "cpu", "--audio", "1", "--processes", "2"]
    rng = random.Random(int(how))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(3):
        process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.2, 0.9) * took)
        if how == signal.SIGKILL:
            os.killpg(process.pid, how)  # its trainings are in sessions of their own, and go on
        else:
            process.send_signal(how)
        process.wait()
    assert subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0
    for name in ("results.csv", "results.md"):
        texts = [(folder / "plan" / name).read_text(encoding="utf-8") for folder in (undisturbed, out)]
        assert without_times(texts[0]) == without_times(texts[1])
    pages = [(folder / "plan" / "report.html").read_text(encoding="utf-8") for folder in (undisturbed, out)]
    assert [page.count("data:audio") for page in pages] == [3, 3]
    assert tables(pages[0]) == tables(pages[1])


def without_times(text: str) -> str:
    """Without the seconds that a training took."""
    return "\n".join(line for line in text.splitlines() if not line.rstrip("| ").endswith(" s"))


def tables(page: str) -> str:
    """The tables of results of a page."""
    return page[page.index('<section id="development">') : page.index('<section id="curves">')]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
def test_a_training_that_goes_on_alone_is_waited_for(write_plan: Callable[..., Path], tmp_path: Path) -> None:
    """Whoever holds the lock works on the run: nobody else begins it a second time."""
    plan = load_plan(write_plan(seeds=[1], variants=[{"name": "base"}]))
    comparison = compare(plan, tmp_path, device="cpu")
    run, ended = comparison.runs[0], tmp_path / "ended"
    code = "import sys, time, fcntl; from pathlib import Path; f = open(sys.argv[1], 'w')"
    code += "; fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(2); Path(sys.argv[2]).touch()"
    command = [sys.executable, "-c", code, str(run.inputs / "lock"), str(ended)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        assert not ended.exists()
        assert work(run, settings_of(plan, plan.base), [], "cpu") is None
        assert ended.exists()
