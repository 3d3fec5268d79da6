"""A run that goes on has the flags that it was begun with, unless others are given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from training_test_runs import NEW_RUN

from ear_sat.cli import train
from ear_sat.errors import UserError
from ear_sat.training.run.folder import RunFolder
from ear_sat.training.run.metrics_csv import MetricsCsv
from ear_sat.training.run.options import KEPT, TrainOptions
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


@pytest.mark.slow
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


def test_a_folder_that_says_nothing_of_flags_has_the_defaults_and_says_so(batch, caplog) -> None:
    batch(*NEW_RUN, *FLAGS, "--name", "a", "--max-steps", "1")
    noted = json.loads((file := Path("runs", "a", "versions.json")).read_text(encoding="utf-8"))
    assert noted.pop("flags")["batch_size"] == 3
    file.write_text(json.dumps(noted), encoding="utf-8")
    assert batch("--resume", "runs/a", "--num-workers", "0", "--max-steps", "2") == "8 × 1 × 1"
    assert "runs/a does not say with which flags it was begun" in caplog.text


@pytest.fixture
def resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainOptions]:
    """What a training would have for options, whose run noted these flags."""
    run = RunFolder.create(tmp_path, "run", {}, {})
    seen: list[TrainOptions] = []
    monkeypatch.setattr("ear_sat.training.run.train.train", lambda options, builders: seen.append(options))

    def resume(flags: object, *given: str) -> TrainOptions:
        run.versions.write_text(json.dumps({"flags": flags}), encoding="utf-8")
        assert train.main(["--resume", str(run.root), *given]) == 0
        return seen[-1]

    return resume


def test_every_flag_comes_back(resumed, tmp_path: Path) -> None:
    (held_out := tmp_path / "held = out.json").write_text("{}", encoding="utf-8")
    values = {
        "val_dataset_config": held_out,
        "remove_pretransform_weight_norm": "post_load",
        "batch_size": 3,
        "accum_batches": 2,
        "gradient_clip_val": 0.5,
        "checkpoint_every": 7,
        "checkpoint_minutes": 0.25,
        "save_top_k": 2,
        "val_every": 11,
        "held_out_every": 0,
        "precision": "bf16-mixed",
        "logger": "none",
    }
    assert set(values) == set(KEPT)
    for options in (TrainOptions(**values), TrainOptions()):
        again = resumed(options.kept())
        assert {name: getattr(again, name) for name in KEPT} == {name: getattr(options, name) for name in KEPT}


def test_a_later_version_may_note_more(resumed) -> None:
    assert resumed({"batch_size": 3, "fold": 1, "compile": True, "config_file": "x"}).batch_size == 3


@pytest.mark.parametrize("flags", [{"batch_size": "abc"}, {"batch_size": None}, {"logger": "stone"}])
def test_flags_that_cannot_be_used_are_one_sentence(resumed, flags) -> None:
    with pytest.raises(UserError, match=r'the "flags" in .*versions.json cannot be used .*; correct or remove them'):
        resumed(flags)


def test_validation_data_that_are_gone(resumed, tmp_path: Path) -> None:
    flags = {"val_dataset_config": str(tmp_path / "gone.json")}
    with pytest.raises(
        UserError, match=r"gone.json, with which .* was begun, is gone; give another --val-dataset-config"
    ):
        resumed(flags)
    assert resumed(flags, "--val-dataset-config", "demo").val_dataset_config == Path("demo")


def test_validation_data_are_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("held_out.json").write_text("{}", encoding="utf-8")
    assert TrainOptions(val_dataset_config=Path("held_out.json")).kept()["val_dataset_config"] == str(
        tmp_path / "held_out.json"
    )
    assert TrainOptions(val_dataset_config=Path("demo")).kept()["val_dataset_config"] == "demo"
