"""Stopping a run from outside: a signal ends it at the end of a round, with a checkpoint of that round."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType

import pytorch_lightning as pl

from ..ranks import all_ranks_agree
from .callbacks import RunCheckpoint
from .options import TrainOptions

logger = logging.getLogger(__name__)

#: What ends a run: Ctrl-C; ``kill``, ``docker stop``, SLURM and clouds; SLURM's ``--signal=USR1@SECONDS``.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


#: Seconds. A launcher may send the same signal twice at once: to the group of processes, and to each.
PATIENCE = 5.0


class StopOnSignal(pl.Callback):
    """Lets the round finish and stops the run. A second Ctrl-C stops it where it is, and so does any second signal
    after :data:`PATIENCE` seconds in which the round has not ended.

    Args:
        checkpoint: the callback that saves.

    Attributes:
        received: the signal that stopped the run; None while there was none.
        since: when it came, by :func:`time.monotonic`.
    """

    def __init__(self, checkpoint: RunCheckpoint) -> None:
        self.received: signal.Signals | None = None
        self.since = 0.0
        self._checkpoint = checkpoint
        self._process = os.getpid()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._listen()  # before worker processes are forked, which inherit this

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._listen()  # Lightning has put handlers of its own in between

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if not all_ranks_agree(self.received is None, pl_module.device):
            trainer.should_stop = True

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if self.received is not None and trainer.world_size == 1:  # it may take longer than there is time
            self._checkpoint.save_last(trainer, pl_module)

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in SIGNALS:
                signal.signal(number, self.handle)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Of a signal."""
        if os.getpid() != self._process:
            return  # a worker, which the run still needs for its last round, and which it ends itself
        if self.received is not None and (number == signal.SIGINT or time.monotonic() - self.since > PATIENCE):
            raise KeyboardInterrupt
        self.received, self.since = signal.Signals(number), time.monotonic()
        logger.warning("%s: the run stops at the end of this round, with a checkpoint", self.received.name)


def after_requeue(options: TrainOptions) -> TrainOptions:
    """The options of a SLURM job that runs its command again: they go on with its run, if that has a checkpoint."""
    if options.resume or options.name is None or int(os.environ.get("SLURM_RESTART_COUNT") or 0) == 0:
        return options
    run = Path(options.save_dir or "runs") / options.name
    if not any((run / "checkpoints").glob("*.ckpt")):
        return options
    logger.warning("this job was requeued: going on with %s", run)
    return dataclasses.replace(options, resume=run, ckpt_path=None)


def requeue() -> None:
    """Hands a SLURM job back to the queue; nothing where this process is not one."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or shutil.which("scontrol") is None:
        return
    result = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if result.returncode:
        logger.warning("scontrol requeue %s failed: %s", job, result.stderr.strip())
