"""One run of a comparison: an ordinary run folder, made by ``ear-sat train`` in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..files import make_folder, write_text
from ..training.run.folder import RunFolder
from .plan import Plan, Variant

CURVE_POINTS = 20
"""Measurements of the held-out clip in a run of known length."""

CURVE_ROUNDS = 20
"""Rounds between them where the length is a time."""

CHECKPOINT_MINUTES = 2
"""What a stopped comparison loses at most."""


@dataclass(frozen=True)
class Run:
    """A variant with a seed, below the folder ``out`` of the comparison."""

    variant: str
    seed: int
    out: Path

    @property
    def name(self) -> str:
        """The run folder's name."""
        return f"{self.variant}-seed{self.seed}"

    @property
    def folder(self) -> RunFolder:
        """Where it is trained."""
        return RunFolder(self.out / "runs" / self.name)

    @property
    def inputs(self) -> Path:
        """The folder of what it is trained with: written before it begins."""
        return self.out / "configs" / self.name

    @property
    def settings(self) -> Path:
        """All of that in one file."""
        return self.inputs / "settings.json"

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.out / "logs" / f"{self.name}.log"

    @property
    def finished(self) -> bool:
        """Whether the training has ended and left its export, of which this file is written last."""
        return (self.folder.export / "model_config.json").exists()

    @property
    def weights(self) -> Path:
        """The exported model."""
        return self.folder.export / "model.safetensors"


def runs_of(plan: Plan, out: Path, only: list[str] | None = None) -> list[Run]:
    """All runs of a plan: first seeds first, so that what has been run compares at any time."""
    chosen = [v for v in plan.variants if only is None or v.name in only]
    seeds = dict.fromkeys(seed for variant in chosen for seed in variant.settings.seeds)
    return [Run(v.name, seed, out) for seed in seeds for v in chosen if seed in v.settings.seeds]


def settings_of(plan: Plan, variant: Variant) -> dict[str, Any]:
    """What decides about a run but for its seed, as JSON has it."""
    settings = variant.settings
    return {
        "model_config": variant.config,
        "train": plan.train,
        "held_out": held_out_config(plan),
        "rounds": settings.rounds,
        "minutes": settings.minutes,
        "batch_size": settings.batch_size,
        "pretrained": settings.pretrained,
        "flags": list(settings.flags),
    }


def held_out_config(plan: Plan) -> dict[str, Any]:
    """Of the clip for the learning curves: from the first set of tracks."""
    entry = {"id": "held-out", "path": str(next(iter(plan.tracks.values())))}
    return {"dataset_type": "ear_audio", "datasets": [entry], "seed": 1}


def check_unchanged(run: Run, settings: dict[str, Any]) -> None:
    """Raises :class:`UserError` if the run was begun with other settings."""
    try:
        before = json.loads(run.settings.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {run.settings}: {error}; remove {run.inputs} and {run.folder.root}") from None
    if different := [key for key in settings if before.get(key) != settings[key]]:
        raise UserError(
            f"{run.folder.root} was trained with other settings ({', '.join(different)}); choose another --out for the "
            "changed plan, or give the variant another name"
        )


def train_run(run: Run, settings: dict[str, Any], device: str) -> str | None:
    """Trains, or goes on where an earlier call was stopped; returns why it failed, or None.

    Raises:
        UserError: the run was begun with other settings.
    """
    make_folder(run.inputs)
    make_folder(run.log.parent)
    with _locked(run.inputs / "lock") as lock:
        check_unchanged(run, settings)
        if run.finished:
            return None
        write_text(run.settings, json.dumps(settings, indent=2) + "\n")
        with run.log.open("ab") as log:
            code = _call(_command(run, settings, device), log, lock)
    return None if code == 0 else f"ear-sat train ended with exit code {code}: {_last_line(run.log)}"


def _command(run: Run, settings: dict[str, Any], device: str) -> list[str]:
    command = [sys.executable, "-m", "ear_sat", "train"]
    resumable = any(run.folder.checkpoints.glob("*.ckpt"))
    if not resumable and run.folder.root.exists():
        shutil.rmtree(run.folder.root)  # stopped before its first checkpoint
    files = {}
    for key in ("model_config", "train", "held_out"):
        files[key] = run.inputs / f"{key}.json"
        write_text(files[key], json.dumps(settings[key], indent=2) + "\n")
    if resumable:
        command += ["--resume", str(run.folder.root)]
    else:
        command += ["--name", run.name, "--save-dir", str(run.folder.root.parent), "--seed", str(run.seed)]
        command += ["--model-config", str(files["model_config"]), "--dataset-config", str(files["train"])]
        if settings["pretrained"]:
            command += ["--pretrained-ckpt-path", settings["pretrained"]]
    command += ["--accelerator", device, *settings["flags"]]
    rounds, minutes = settings["rounds"], settings["minutes"]
    command += ["--max-steps", str(rounds)] if rounds else []
    command += ["--max-minutes", str(minutes)] if minutes else []
    every = max(1, rounds // CURVE_POINTS) if rounds else CURVE_ROUNDS
    command += ["--val-dataset-config", str(files["held_out"]), "--held-out-every", str(every)]
    command += ["--batch-size", str(settings["batch_size"]), "--checkpoint-minutes", str(CHECKPOINT_MINUTES)]
    return [*command, "--save-top-k", "0"]


def _call(command: list[str], log: Any, lock: int | None) -> int:
    """Runs ``command``; where this process is to end, the training writes its checkpoint first."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **threads},
        start_new_session=True,  # Ctrl-C reaches this process alone
        pass_fds=() if lock is None else (lock,),
    ) as process:
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").strip().splitlines()
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "no output")


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """Waits for a training that goes on although the comparison that began it was killed: it holds the lock, too."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
