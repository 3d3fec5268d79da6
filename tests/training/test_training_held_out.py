"""The held-out clip while a training goes on, and the end of a training by the clock."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from training_test_runs import NEW_RUN

from ear_sat.cli import train
from ear_sat.report.audio import save_audio
from ear_sat.training.run.finish import _earlier
from ear_sat.training.run.folder import RunFolder
from ear_sat.training.run.held_out import HeldOut, HeldOutClip
from ear_sat.training.run.metrics_csv import MetricsCsv

HELD_OUT = {"dataset_type": "ear_demo", "tracks": 1, "seconds": 2.0, "crops_per_track": 1, "split": "held_out"}


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    # The clip has 6 s: no track of the demo set may be shorter.
    (folder / "held_out.json").write_text(json.dumps({**HELD_OUT, "seconds": 7.0}), encoding="utf-8")
    monkeypatch.delenv("EAR_SAT_RUN_FOLDER", raising=False)


def run(*flags: str) -> dict[str, list[tuple[int, float]]]:
    common = ["--val-dataset-config", "held_out.json", "--num-workers", "0", "--name", "run"]
    assert train.main([*NEW_RUN, *common, *flags]) == 0
    os.environ.pop("EAR_SAT_RUN_FOLDER", None)
    return MetricsCsv.read(Path("runs", "run", "metrics.csv"))


def test_the_clip_is_measured_as_often_as_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    series = run("--held-out-every", "2")
    values = dict(series["held_out/si_sdr_db"])
    assert list(values) == [0, 2, 4] and len(set(values.values())) == 3
    assert {key for key in series if key.startswith("held_out/")} >= {
        "held_out/stft_distance",
        "held_out/correlation/correlation",
        "held_out/seconds",
    }
    printed = " ".join(capsys.readouterr().out.split())
    for number in (0, 4):  # the table at the end has the same numbers
        assert f"{values[number]:.4g}" in printed
    page = Path("runs", "run", "listen.html")
    assert f"listen: {page}" in printed
    text = page.read_text(encoding="utf-8")
    assert text.count("data:audio/mpeg") == 3 and re.findall(r">(original|round \d+)<small>", text) == [
        "original",
        "round 1",
        "round 4",
    ]
    seconds = [value for _, value in series["held_out/seconds"]]
    assert seconds[0] == 0 < seconds[1] < seconds[2]


def test_the_page_lets_one_hear_few_rounds_of_the_clip_it_shows(tmp_path: Path) -> None:
    folder, clip = RunFolder(tmp_path), torch.rand(2, 4410) - 0.5
    for step in (1, 10, 20, 30, 40):
        save_audio(folder.demos / f"step-{step}" / "clip-0.target.wav", clip, 44100)
        save_audio(folder.demos / f"step-{step}" / "clip-0.estimate.wav", clip / (1 + step), 44100)
    earlier = _earlier(folder, 40, clip)
    assert list(earlier) == ["round 1", "round 10", "round 30"]
    for step in (1, 10, 30):
        torch.testing.assert_close(earlier[f"round {step}"], clip / (1 + step), atol=2**-22, rtol=0)
    save_audio(folder.demos / "step-10" / "clip-0.target.wav", -clip, 44100)  # other data than today's
    (folder.demos / "step-30" / "clip-0.estimate.wav").unlink()
    assert list(_earlier(folder, 40, clip)) == ["round 1"]
    assert _earlier(folder, 1, clip) == {}


def test_measuring_changes_nothing() -> None:
    often = run("--held-out-every", "1")
    Path("runs", "run").rename(Path("runs", "often"))
    never = run("--held-out-every", "0")
    assert "held_out/si_sdr_db" not in never
    assert often["train/loss/total"] == never["train/loss/total"]


def test_the_clock_goes_on_after_a_resume() -> None:
    resumed = HeldOut(HeldOutClip(torch.randn(2, 20000), 44100), every=1)
    resumed.load_state_dict({"seconds": 30.0})
    assert 30.0 <= resumed.state_dict()["seconds"] < 31.0
    run("--max-steps", "2", "--held-out-every", "1")
    assert train.main(["--resume", "runs/run", "--max-steps", "4", "--held-out-every", "1", "--num-workers", "0"]) == 0
    seconds = [value for _, value in MetricsCsv.read(Path("runs", "run", "metrics.csv"))["held_out/seconds"]]
    assert len(seconds) == 5 and seconds == sorted(seconds) and len(set(seconds)) == 5


def test_minutes_end_a_training_and_count_over_resumptions(folder: Path) -> None:
    config = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    config["training"]["phases"][1]["steps"] = 100000
    (folder / "model.json").write_text(json.dumps(config), encoding="utf-8")
    rounds = run("--max-minutes", "0.02")["train/loss/total"][-1][0]
    assert 1 <= rounds < 10000 and Path("runs", "run", "export", "model.safetensors").exists()
    # The clock of the run has run out: nothing is added but the round in which that is seen.
    assert train.main(["--resume", "runs/run", "--max-minutes", "0.02", "--num-workers", "0"]) == 0
    assert MetricsCsv.read(Path("runs", "run", "metrics.csv"))["train/loss/total"][-1][0] <= rounds + 1
