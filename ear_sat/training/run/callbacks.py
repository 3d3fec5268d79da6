"""What happens between rounds: progress, stopping, checkpoints, the list of files left out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from tqdm import tqdm

from ...data import collect_left_out
from ...errors import UserError
from ..ranks import all_ranks_agree
from ..round import Batch
from ..wrapper import EarTrainingWrapper
from . import optimizer_match
from .checkpoint_io import link_or_copy
from .folder import RunFolder
from .held_out import HeldOut
from .rounds import rounds_of

#: The best checkpoint has the least of this metric.
BEST_METRIC = "stft_distance"


class Progress(pl.Callback):
    """A bar over rounds with rounds per second and the time left, and the stop after ``max_rounds`` (None: never)."""

    def __init__(self, max_rounds: int | None, show: bool = True) -> None:
        self.max_rounds, self.show = max_rounds, show
        self._bar: tqdm[NoReturn] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.show and trainer.is_global_zero:
            done = rounds_of(trainer, pl_module)
            self._bar = tqdm(total=self.max_rounds, initial=done, unit="round", smoothing=0.05, mininterval=1.0)
        self._stop_if_done(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if self._bar is not None:
            finished = rounds_of(trainer, pl_module) - self._bar.n
            self._bar.update(finished)
            if finished:
                states = (c.status for c in _callbacks(trainer) if isinstance(c, HeldOut))
                self._bar.set_postfix_str(", ".join(filter(None, [_loss(trainer, pl_module), *states])), refresh=False)
        self._stop_if_done(trainer, pl_module)

    def _stop_if_done(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.max_rounds is not None and rounds_of(trainer, pl_module) >= self.max_rounds:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)


class EmptyEpochs(pl.Callback):
    """Ends a run whose data yield nothing: Lightning would begin one epoch after the other, for ever.

    One empty epoch is none too many: a run can go on from the last batch of an epoch.
    """

    def __init__(self) -> None:
        self._empty = -1  # the first has not been

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._empty += 1
        if self._empty > 1:
            raise UserError(
                "the data set gives no batch, for it has fewer items, or all are left out: see the lines above, lower "
                "--batch-size, or add data"
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._empty = -1


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    found: list[pl.Callback] = getattr(trainer, "callbacks")  # noqa: B009 (Lightning sets it from outside)
    return found


def _loss(trainer: pl.Trainer, pl_module: pl.LightningModule) -> str:
    if isinstance(pl_module, EarTrainingWrapper):
        value: float | Tensor | None = pl_module.last_log.get("train/loss/total")
    else:
        value = trainer.callback_metrics.get("train/loss")  # the host's wrappers log through Lightning
    return "" if value is None else f"loss {float(value):.4g}"


class RunCheckpoint(pl.Callback):
    """Writes ``last.ckpt`` and ``step-N.ckpt`` every ``every`` rounds, ``best.ckpt`` when validation improves.

    Args:
        run: the run folder.
        every: rounds between checkpoints.
        keep: how many ``step-N.ckpt`` to keep, the newest ones; −1 for all.
        minutes: the longest time without a ``last.ckpt``; 0 for any.
    """

    def __init__(self, run: RunFolder, every: int, keep: int = -1, minutes: float = 0) -> None:
        self.run, self.every, self.keep, self.minutes = run, every, keep, minutes
        self.best: float | None = None
        self._saved = -1
        self._saved_at = 0.0

    def state_dict(self) -> dict[str, float]:
        return {} if self.best is None else {"best": float(self.best)}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict.get("best")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[optimizer_match.KEY] = optimizer_match.type_names(trainer.optimizers)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved, self._saved_at = rounds_of(trainer, pl_module), time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        rounds = rounds_of(trainer, pl_module)
        if rounds == self._saved:
            return
        if rounds % self.every == 0:
            self._save(trainer, rounds)
        elif self.minutes:
            in_time = time.monotonic() - self._saved_at < 60 * self.minutes
            if not all_ranks_agree(in_time, pl_module.device):
                self.save_last(trainer, pl_module)

    def save_last(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes ``last.ckpt`` alone, unless it is of this round already."""
        rounds = rounds_of(trainer, pl_module)
        if rounds != self._saved:
            self._saved, self._saved_at = rounds, time.monotonic()
            trainer.save_checkpoint(str(self.run.checkpoints / "last.ckpt"))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = getattr(pl_module, "last_log", {}).get(f"val/{BEST_METRIC}")
        if value is not None and not trainer.sanity_checking and (self.best is None or value < self.best):
            self.best = value
            trainer.save_checkpoint(str(self.run.checkpoints / "best.ckpt"))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rounds = rounds_of(trainer, pl_module)
        if rounds != self._saved:
            self._save(trainer, rounds)

    def _save(self, trainer: pl.Trainer, rounds: int) -> None:
        self._saved, self._saved_at = rounds, time.monotonic()
        path = self.run.checkpoints / f"step-{rounds}.ckpt"
        trainer.save_checkpoint(str(path))
        self._after_save(path)

    @rank_zero_only
    def _after_save(self, path: Path) -> None:
        link_or_copy(path, self.run.checkpoints / "last.ckpt")
        if self.keep >= 0:
            steps = sorted(self.run.checkpoints.glob("step-*.ckpt"), key=lambda p: int(p.stem.split("-")[1]))
            for old in steps[: max(0, len(steps) - self.keep)]:
                old.unlink(missing_ok=True)


class LeftOutFiles(pl.Callback):
    """Collects the files that workers left out while reading; ``lines`` has one "path: reason" each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        infos = batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else ()
        if any(isinstance(info, dict) and info.get("left_out") for info in infos):
            self.lines += [line for line in collect_left_out(infos) if line not in self.lines]
