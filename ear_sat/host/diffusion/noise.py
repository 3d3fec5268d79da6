"""The noise and the times that the host's wrappers draw: others on every rank, and as if nothing had stopped.

The host seeds all processes alike and stores neither torch's generator nor its Sobol sequence of times, so every rank
and every continued run would draw the same again.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch.quasirandom import SobolEngine

from ...training.round_seed import mixed_seed, seed_batch


class HostNoise(pl.Callback):
    """Seeds every batch from the run's seed, the rank and the round, and keeps the place in the Sobol sequence.

    Args:
        seed: the run's; None for that of the checkpoint, or else torch's.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._times: SobolEngine | None = None
        self._drawn = 0
        self._place = (-1, 0)  # round, batch of it

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.seed is None:
            self.seed = torch.initial_seed()
        if isinstance(getattr(pl_module, "rng", None), SobolEngine):
            seed = mixed_seed(self.seed, trainer.global_rank)
            pl_module.rng = self._times = SobolEngine(1, scramble=True, seed=seed >> 1)  # it takes 63 bits
            self._times.fast_forward(self._drawn)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        rounds, batch = self._place
        self._place = (rounds, batch + 1) if trainer.global_step == rounds else (trainer.global_step, 0)
        assert self.seed is not None
        seed_batch(self.seed, trainer.global_rank, *self._place)

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "drawn": 0 if self._times is None else self._times.num_generated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._drawn = state_dict["drawn"]
        if self.seed is None:
            self.seed = state_dict["seed"]
