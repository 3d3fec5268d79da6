"""What a command says of an error: one sentence, whichever process it comes from, and its traceback if asked for."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch._utils import ExceptionWrapper

from ear_sat.cli import errors
from ear_sat.cli.main import COMMANDS, get_parser, main
from ear_sat.errors import UserError

ROOT = Path(__file__).parents[1]


def user_error() -> None:
    raise UserError("the cable is out; plug it in")


def in_a_worker() -> None:
    """As torch hands an error over: of the same type, with the worker's traceback for a message."""
    try:
        try:
            raise ZeroDivisionError("division by zero")
        except ZeroDivisionError as error:
            raise UserError("the cable is out; plug it in") from error
    except UserError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    wrapped.reraise()


def from_a_worker_by_text() -> None:
    try:
        in_a_worker()
    except UserError as error:
        text = str(error)
    raise RuntimeError(text)


def as_a_cause() -> None:
    try:
        in_a_worker()
    except UserError as error:
        raise RuntimeError("the loop stopped") from error


CASES = [user_error, in_a_worker, from_a_worker_by_text, as_a_cause]


@pytest.mark.parametrize("raising", CASES)
def test_one_sentence(raising: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.run(raising) == 1
    assert capsys.readouterr().err == "error: the cable is out; plug it in\n"


@pytest.mark.parametrize("raising", CASES)
@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_the_traceback_too(
    raising: Callable[[], None],
    value: str,
    shown: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(errors.DEBUG, value)
    assert errors.run(raising) == 1
    text = capsys.readouterr().err
    assert text.endswith("error: the cable is out; plug it in\n")
    assert ("Traceback" in text and f"in {raising.__name__}" in text) == shown


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        errors.run(lambda: 1 // 0)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_every_command_has_the_flag(command: str) -> None:
    (commands,) = (a for a in get_parser(command)._actions if isinstance(a, argparse._SubParsersAction))
    assert "--debug" in commands.choices[command].format_help()


@pytest.mark.parametrize("arguments", [["inspect", "--debug", "none.pyt"], ["train", "--debug", "--resume", "none"]])
def test_the_flag_shows_the_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(errors.DEBUG, "")
    assert main(arguments) == 1
    assert "Traceback" in capsys.readouterr().err and os.environ[errors.DEBUG] == "1"


#: Path arguments of each command; an empty one is what a shell makes of a variable that is not set.
EMPTY = [
    ["reconstruct", "", "--out", "o", "--weights", "w"],
    ["reconstruct", "a", "--out", "", "--weights", "w"],
    ["reconstruct", "a", "--out", "o", "--weights", ""],
    ["evaluate", "--reference", "", "--estimate", "a=b", "--out", "o"],
    ["evaluate", "--data", "", "--weights", "w", "--out", "o"],
    ["prepare-data", "", "--out", "o"],
    ["prepare-data", "a", "--out", ""],
    ["pre-encode", "--data", "", "--weights", "w", "--out", "o"],
    ["latent-stats", "--dataset-config", "", "--weights", "w"],
    ["balance", "--model-config", "", "--reference", "a", "--estimate", "b"],
    ["config", "", "--out", "o"],
    ["config", "ear_vae", "--out", ""],
    ["inspect", ""],
    ["export", "", "t.pyt"],
    ["export", "s.pyt", ""],
    ["run", ""],
    *(
        ["train", flag, ""]
        for flag in ("--model-config", "--dataset-config", "--val-dataset-config", "--pretrained-ckpt-path")
    ),
    *(["train", flag, ""] for flag in ("--save-dir", "--resume", "--ckpt-path", "--pretransform-ckpt-path")),
]


@pytest.mark.parametrize("arguments", EMPTY, ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("must be a path, not ''; the working folder is .\n")
    assert not any(tmp_path.iterdir())


def test_empty_names(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    for arguments, sentence in {
        ("export", "run", "t.pyt", "--checkpoint", ""): "--checkpoint can be last",
        ("train", "--import", ""): "--import  failed",
        ("evaluate", "--reference", "run", "--estimate", "", "--out", "o"): "--estimate takes NAME=FOLDER",
    }.items():
        assert main(list(arguments)) == 1
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_metadata_module_that_fails_in_a_worker(tmp_path: Path) -> None:
    """A training, in whose workers the user's own function raises."""
    pytest.importorskip("pytorch_lightning")
    import numpy as np
    import soundfile

    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * np.ones((400_000, 2)), 44100)
    (tmp_path / "m.py").write_text("def get_custom_metadata(info, audio): return 1 / 0")
    entry = {"id": "a", "path": ".", "custom_metadata_module": "m.py"}
    (tmp_path / "data.json").write_text(json.dumps({"dataset_type": "ear_audio", "datasets": [entry]}))
    command = [sys.executable, "-m", "ear_sat", "train", "--model-config", "ear_vae_demo", "--dataset-config"]
    command += ["data.json", "--num-workers", "2", "--batch-size", "1", "--max-steps", "2", "--accelerator", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for extra, traceback in (([], False), (["--debug"], True)):
        done = subprocess.run(
            [*command, *extra], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 1 and ("Traceback" in done.stderr) == traceback, done.stderr[-3000:]
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: get_custom_metadata of m.py fails on") and "ZeroDivisionError" in last
