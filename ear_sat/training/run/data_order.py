"""The order of the training data across restarts: counts what training used and keeps it in the checkpoint."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from ...data import EpochSampler
from ..round import Batch
from .rounds import rounds_of


class DataOrder(pl.Callback):
    """After a resume the data go on behind the last finished round, as if the run had not stopped.

    Lightning's own counters do not serve: workers fetch ahead, and a run that is stopped within an epoch and resumed
    begins the next one. Place this before the callback that saves, so that a checkpoint holds what its round used.

    Args:
        loader: the training loader; one with another sampler than :class:`EpochSampler` is left alone.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        sampler = getattr(loader, "sampler", None)
        self.sampler = sampler if isinstance(sampler, EpochSampler) else None
        self._rounds = 0
        self._state: dict[str, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.sampler is not None:
            self.sampler.count_used(0)  # before Lightning's first iter(), of which there may be two

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._rounds = rounds_of(trainer, pl_module)
        if self.sampler is not None:
            self._state = self.sampler.state_dict()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        if self.sampler is None:
            return
        self.sampler.count_used(len(batch[0]))
        rounds = rounds_of(trainer, pl_module)
        if rounds != self._rounds:  # batches accumulated for an unfinished round come again after a resume
            self._rounds, self._state = rounds, self.sampler.state_dict()

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.sampler is not None and state_dict:
            self.sampler.load_state_dict(state_dict)
