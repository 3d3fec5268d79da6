"""The loggers of a run: always the run folder's CSV, and one of Lightning's on request."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from ...errors import UserError, first_line
from .folder import RunFolder
from .run_logger import RunLogger


def create_loggers(kind: str, run: RunFolder, project: str) -> list[Any]:
    """The run folder's logger, and before it the one called ``kind`` unless that is "csv" or "none".

    Before it, because the host's demos go to the first logger only. wandb runs offline by itself when nobody is logged
    in.

    Raises:
        UserError: the package behind ``kind`` is not installed, or cannot start: no login, no network.
    """
    loggers: list[Any] = [RunLogger(run)]
    if kind in ("csv", "none"):
        return loggers
    package = {"wandb": "wandb", "comet": "comet_ml", "tensorboard": "tensorboard"}[kind]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"--logger {kind} needs the package {package}; run: pip install {package}")
    folder = str(run.root.resolve())  # the working directory is another while a demo of the host is written
    if kind == "tensorboard":
        loggers.insert(0, pl.loggers.TensorBoardLogger(folder, name="tensorboard", version=""))
    elif kind == "comet":
        loggers.insert(0, start_logger(kind, lambda: pl.loggers.CometLogger(project_name=project)))
    else:
        if not (_wandb_logged_in() or os.environ.get("WANDB_MODE")):
            os.environ["WANDB_MODE"] = "offline"
        name = run.root.name
        loggers.insert(
            0, start_logger(kind, lambda: pl.loggers.WandbLogger(project=project, name=name, save_dir=folder))
        )
    return loggers


def start_logger(kind: str, make: Callable[[], Any]) -> Any:
    """The logger with its experiment begun, which is when it looks for login and network."""
    try:
        logger = make()
        _ = logger.experiment
    except Exception as error:  # of types of its own
        raise UserError(
            f"--logger {kind} cannot start ({first_line(error):.200}); log in and check the network"
            f"{', set WANDB_MODE=offline' if kind == 'wandb' else ''}, or take another --logger"
        ) from error
    return logger


def _wandb_logged_in() -> bool:
    import netrc
    from pathlib import Path

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(str(Path("~/.netrc").expanduser())).authenticators("api.wandb.ai") is not None
    except (OSError, RuntimeError, netrc.NetrcParseError):  # no such file, no home, no netrc
        return False
