"""What a run cannot go on from or with is one sentence, and leaves everything as it was."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

pytest.importorskip("pytorch_lightning")

from training_test_runs import NEW_RUN

from ear_sat.cli import errors, train
from ear_sat.errors import UserError
from ear_sat.training.run.checkpoint_io import map_checkpoint
from ear_sat.training.run.loggers import start_logger
from ear_sat.training.run.optimizer_match import KEY, check_optimizers
from ear_sat.training.run.train import RUN_FOLDER_VARIABLE

Command = Callable[..., str]


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Trains in this process; returns what it printed, or the one sentence that it ended with."""
    monkeypatch.chdir(folder)

    def run(*flags: str, code: int = 0) -> str:
        monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
        monkeypatch.setattr(logging.getLogger("ear_sat"), "propagate", False)
        capfd.readouterr()
        assert errors.run(lambda: train.main(["--num-workers", "0", "--accelerator", "cpu", *flags])) == code
        out, err = capfd.readouterr()
        if code == 0:
            return out
        assert "Traceback" not in err
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")

    return run


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def with_optimizer(folder: Path, name: str, **optimizer: Any) -> str:
    """The config with this optimizer for both players, as another file."""
    config = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    players = ("autoencoder", "discriminator")
    config["training"]["optimizer_configs"] = {player: {"optimizer": optimizer} for player in players}
    (folder / name).write_text(json.dumps(config), encoding="utf-8")
    return name


@pytest.mark.slow
def test_another_optimizer_than_the_checkpoints(folder: Path, command: Command) -> None:
    command(*NEW_RUN, "--name", "a", "--max-steps", "2")
    last = folder / "runs" / "a" / "checkpoints" / "last.ckpt"
    assert map_checkpoint(last)[KEY] == ["AdamW", "AdamW"]
    before = contents(folder / "runs")
    sgd = with_optimizer(folder, "sgd.json", type="SGD", config={"lr": 1e-4})
    sentence = (
        "last.ckpt was trained with AdamW and AdamW, and this config has SGD and SGD; use the model config of its"
    )
    assert sentence in command("--resume", "runs/a", "--model-config", sgd, code=1)
    new = ["--model-config", sgd, "--dataset-config", "data.json", "--name", "b", "--ckpt-path", str(last)]
    assert sentence in command(*new, code=1)
    assert contents(folder / "runs") == before
    adamw = with_optimizer(folder, "adamw.json", type="AdamW", config={"lr": 1e-5})
    command("--resume", "runs/a", "--model-config", adamw, "--max-steps", "3")
    assert map_checkpoint(last)["ear_sat"]["rounds"] == 3


def stored(*optimizers: torch.optim.Optimizer) -> dict[str, Any]:
    return {"optimizer_states": [optimizer.state_dict() for optimizer in optimizers]}


def test_optimizers_are_told_apart() -> None:
    weights = list(nn.Linear(3, 3).parameters())
    adam, adamw, sgd = (kind(weights, lr=0.1) for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(sgd, 1.0, 10, base_momentum=0.8)
    path = Path("a.ckpt")
    for named in ({}, {KEY: ["AdamW", "SGD"]}):
        for configured in ([adamw, sgd], ([adamw, sgd], [scheduler]), [{"optimizer": adamw}, {"optimizer": sgd}]):
            check_optimizers(configured, {**stored(adamw, sgd), **named}, path)
    check_optimizers({"optimizer": adam}, stored(adam), path)
    check_optimizers(adam, stored(adam), path)
    with pytest.raises(UserError, match=r"a\.ckpt was trained with another optimizer than this config's SGD"):
        check_optimizers([adamw, sgd], stored(adamw, adamw), path)
    with pytest.raises(UserError, match="was trained with Adam, and this config has AdamW"):
        check_optimizers(adamw, {**stored(adam), KEY: ["Adam"]}, path)
    with pytest.raises(UserError, match=r"was trained with 2 optimizer\(s\), and this config has AdamW"):
        check_optimizers(adamw, stored(adamw, adamw), path)
    fewer = torch.optim.AdamW(weights[:1], lr=0.1)
    with pytest.raises(UserError, match="with 2 parameters under AdamW, and this config trains 1: requires_grad may"):
        check_optimizers(fewer, stored(adamw), path)


@pytest.mark.parametrize("states", [None, 3, [3], [{}], [{"param_groups": [3]}], [{"param_groups": [{}]}]])
def test_damaged_states_are_named(states: Any) -> None:
    adamw = torch.optim.AdamW(nn.Linear(3, 3).parameters())
    with pytest.raises(UserError, match=r"a\.ckpt is damaged: its optimizer states"):
        check_optimizers(adamw, {"optimizer_states": states}, Path("a.ckpt"))


def test_what_is_no_run_and_no_checkpoint(folder: Path, command: Command) -> None:
    checkpoints = folder / "runs" / "a" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (folder / "runs" / "a" / "model_config.json").write_text("{}", encoding="utf-8")
    (checkpoints / "last.ckpt").write_text("", encoding="utf-8")
    before = contents(folder)
    new = ["--model-config", "model.json", "--dataset-config", "data.json"]
    for more in ([], new):
        missing = command("--resume", "runs/none", *more, code=1)
        assert missing == "no such run folder: runs/none; --resume takes the folder of an earlier run"
        file = command("--resume", "runs/a/checkpoints/last.ckpt", *more, code=1)
        assert file.startswith(
            "runs/a/checkpoints/last.ckpt is not a run folder (did you mean runs/a?); --resume takes"
        )
        assert "is not a run folder; --resume takes" in command("--resume", "runs", *more, code=1)
    folder_given = command(*new, "--ckpt-path", "runs/a", code=1)
    assert folder_given == "runs/a is a folder; give a .ckpt file in it, or a run's folder to --resume"
    assert "no such checkpoint: none.ckpt" in command(*new, "--ckpt-path", "none.ckpt", code=1)
    assert contents(folder) == before


def test_a_logger_that_cannot_start(tmp_path: Path) -> None:
    class Offline:
        @property
        def experiment(self) -> object:
            raise ConnectionError("no route to host\nmore lines")

    with pytest.raises(UserError) as error:
        start_logger("comet", Offline)
    assert str(error.value) == (
        "--logger comet cannot start (no route to host); log in and check the network, or take another --logger"
    )
    with pytest.raises(UserError, match="set WANDB_MODE=offline"):
        start_logger("wandb", Offline)


DEADLY = """import os, signal
from pathlib import Path
from torch.utils.data import get_worker_info

def get_custom_metadata(info, audio):
    if get_worker_info() is not None and len(list(Path(__file__).parent.glob("read-*"))) > 8:
        os.kill(os.getpid(), signal.SIGBUS)
    Path(__file__).with_name(f"read-{os.urandom(8).hex()}").touch()
    return {}
"""


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run_with_one_sentence(folder: Path, command: Command) -> None:
    (folder / "music").mkdir()
    (folder / "deadly.py").write_text(DEADLY, encoding="utf-8")
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * 44100, 2))
    soundfile.write(folder / "music" / "a.wav", noise, 44100)
    entry = {"path": str(folder / "music"), "custom_metadata_module": str(folder / "deadly.py")}
    data = {"dataset_type": "ear_audio", "datasets": [entry], "crops_per_file": 64}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    flags = [*NEW_RUN, "--name", "a", "--num-workers", "1", "--checkpoint-every", "1", "--max-steps", "50"]
    sentence = command(*flags, code=1)
    assert sentence.startswith("a process that reads data was ended by a signal (Bus error), most likely for want of")
    assert "--shm-size" in sentence and sentence.endswith("--num-workers; go on with: ear-sat train --resume runs/a")
