"""A run that goes on has the flags that it was begun with, unless others are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_test_runs import NEW_RUN

from ear_sat.cli import train
from ear_sat.training.run.metrics_csv import MetricsCsv
from ear_sat.training.run.train import RUN_FOLDER_VARIABLE

FLAGS = ["--batch-size", "3", "--num-workers", "0", "--accum-batches", "2", "--held-out-every", "2"]


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Trains; the line of the summary that says how large a batch is."""

    def run(*flags: str) -> str:
        monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
        capsys.readouterr()
        assert train.main(["--accelerator", "cpu", *flags]) == 0
        words = " ".join(capsys.readouterr().out.split())
        return words.partition(" batch ")[2].partition(" process")[0]

    return run


def totals(name: str) -> list[tuple[int, float]]:
    return MetricsCsv.read(Path("runs", name, "metrics.csv"))["train/loss/total"]


def test_it_trains_as_if_it_had_not_stopped(batch) -> None:
    assert batch(*NEW_RUN, *FLAGS, "--name", "whole", "--max-steps", "4") == "3 × 2 × 1"
    batch(*NEW_RUN, *FLAGS, "--name", "parts", "--max-steps", "2")
    assert batch("--resume", "runs/parts", "--max-steps", "4") == "3 × 2 × 1"
    assert totals("parts") == totals("whole") and totals("whole")[-1][0] == 4


def test_what_is_given_counts_and_is_kept(batch) -> None:
    batch(*NEW_RUN, *FLAGS, "--name", "a", "--max-steps", "1")
    assert batch("--resume", "runs/a", "--batch-size", "2", "--max-steps", "2") == "2 × 2 × 1"
    assert batch("--resume", "runs/a", "--max-steps", "3") == "2 × 2 × 1"


def test_a_run_that_is_finished_says_so(
    batch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    batch(*NEW_RUN, *FLAGS, "--name", "a", "--max-steps", "1")
    assert "has all of its" not in caplog.text
    capsys.readouterr()
    assert train.main(["--resume", "runs/a", "--max-steps", "1", "--accelerator", "cpu"]) == 0
    assert "the run has all of its 1 rounds; --max-steps goes on beyond them" in caplog.text
    assert capsys.readouterr().out.count("round 1 ") <= 1  # one row, not before and after


def test_a_folder_that_says_nothing_of_flags_has_the_defaults(batch) -> None:
    batch(*NEW_RUN, *FLAGS, "--name", "a", "--max-steps", "1")
    noted = json.loads((file := Path("runs", "a", "versions.json")).read_text(encoding="utf-8"))
    assert noted.pop("flags")["batch_size"] == 3
    file.write_text(json.dumps(noted), encoding="utf-8")
    assert batch("--resume", "runs/a", "--num-workers", "0", "--max-steps", "2") == "8 × 1 × 1"


def test_validation_data_are_found_from_elsewhere(batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = {"dataset_type": "ear_demo", "tracks": 1, "seconds": 7.0, "crops_per_track": 1, "split": "held_out"}
    Path("held_out.json").write_text(json.dumps(held_out), encoding="utf-8")
    batch(*NEW_RUN, *FLAGS, "--val-dataset-config", "held_out.json", "--name", "a", "--max-steps", "1")
    run = Path("runs", "a").resolve()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    assert batch("--resume", str(run), "--max-steps", "2") == "3 × 2 × 1"
