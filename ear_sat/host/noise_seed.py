"""The noise and the times that the host's diffusion wrappers draw: others on every rank, others after a resume.

The host seeds all processes alike and stores neither torch's generator nor its Sobol sequence of times, so every rank
and every continued run would draw the same again; a repeated run still does.
"""

from __future__ import annotations

import random
from typing import Any

import pytorch_lightning as pl
import torch


class NoiseSeed(pl.Callback):
    """Seeds torch, ``random`` and the wrapper's Sobol sequence from the run's seed, the rank and the round."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        seed = (torch.initial_seed() + 7919 * trainer.global_rank + 104729 * trainer.global_step) % 2**31
        torch.manual_seed(seed)
        random.seed(seed)
        if isinstance(getattr(pl_module, "rng", None), torch.quasirandom.SobolEngine):
            pl_module.rng = torch.quasirandom.SobolEngine(1, scramble=True, seed=seed)
