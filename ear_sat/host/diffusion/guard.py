"""Checks of a latent model at its first training step, also under the host's own train script."""

from __future__ import annotations

import functools
from typing import Any

import pytorch_lightning as pl

from .data import check_data
from .pretransform_weights import check_pretransform_weights


class DiffusionGuard(pl.Callback):
    """Raises :class:`ear_sat.UserError` where a run would train on noise or on data of another kind.

    Args:
        model: what the wrapper trains.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._checked = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.ckpt_path:  # a run that goes on brings the weights it has trained with
            check_pretransform_weights(self.model)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self._checked:
            reals, infos = batch[0], batch[1]
            check_data(self.model, getattr(pl_module, "pre_encoded", False), reals.shape[-2], infos[0])
            self._checked = True


def attach_guard(wrapper: Any, model: Any) -> Any:
    """Makes Lightning add a :class:`DiffusionGuard` whenever ``wrapper``, the host's for ``model``, is trained."""
    if getattr(model, "pretransform", None) is not None:
        wrapper.configure_callbacks = functools.partial(_guards, model)
    return wrapper


def _guards(model: Any) -> list[pl.Callback]:
    return [DiffusionGuard(model)]
