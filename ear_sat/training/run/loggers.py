"""The loggers of a run: always the run folder's CSV, and one of Lightning's on request."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytorch_lightning as pl

from ...errors import UserError
from .folder import RunFolder
from .run_logger import RunLogger


def create_loggers(kind: str, run: RunFolder, project: str) -> list[Any]:
    """The run folder's logger, and before it the one called ``kind`` unless that is "csv" or "none".

    Before it, because the host's demos go to the first logger only. wandb runs offline by itself when nobody is logged
    in.

    Raises:
        UserError: the package behind ``kind`` is not installed.
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
        loggers.insert(0, pl.loggers.CometLogger(project_name=project))
    else:
        if not (_wandb_logged_in() or os.environ.get("WANDB_MODE")):
            os.environ["WANDB_MODE"] = "offline"
        loggers.insert(0, pl.loggers.WandbLogger(project=project, name=run.root.name, save_dir=folder))
    return loggers


def _wandb_logged_in() -> bool:
    import netrc
    from pathlib import Path

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(str(Path("~/.netrc").expanduser())).authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
