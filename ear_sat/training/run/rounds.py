"""The axis of a run: finished rounds of our wrapper, Lightning's steps of the host's."""

from __future__ import annotations

import pytorch_lightning as pl


def rounds_of(trainer: pl.Trainer, module: pl.LightningModule) -> int:
    """Finished rounds; the host's wrappers do not count any, so their optimizer steps stand for them."""
    return int(getattr(module, "rounds", trainer.global_step))
