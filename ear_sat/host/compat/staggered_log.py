"""0.0.20 averages its numbers over ten steps, loses those of a run's last steps and writes to the first logger only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

_MARK = "_ear_sat_flushes"


def apply() -> None:
    """Makes ``StaggeredLogger`` write to every logger, and its wrappers write what is left when training ends."""
    from stable_audio_tools.training import utils

    staggered = getattr(utils, "StaggeredLogger", None)
    if staggered is None or hasattr(staggered, _MARK):
        return
    staggered.log = _log
    setattr(staggered, _MARK, True)
    for wrapper in _wrappers():
        wrapper.on_train_end = _with_flush(wrapper.on_train_end)


def _wrappers() -> list[Any]:
    from stable_audio_tools.training.arc import ARCTrainingWrapper
    from stable_audio_tools.training.autoencoders import AutoencoderTrainingWrapper
    from stable_audio_tools.training.diffusion import DiffusionCondTrainingWrapper

    return [ARCTrainingWrapper, AutoencoderTrainingWrapper, DiffusionCondTrainingWrapper]


def _with_flush(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def on_train_end(self: Any) -> None:
        original(self)
        _flush(self._staggered_logger, self)

    return on_train_end


def _log(self: Any, log_dict: dict[str, Any], module: Any) -> None:
    """Adds the numbers of a step; every ``every_n_steps`` calls writes their means."""
    for key, value in log_dict.items():
        number = value.detach() if torch.is_tensor(value) else value
        self._accum[key] = self._accum[key] + number if key in self._accum else number
        self._counts[key] = self._counts.get(key, 0) + 1
    self._steps += 1
    if self._steps >= self.every_n_steps:
        module.log_dict(_flush(self, module), prog_bar=True, on_step=True, logger=False)


def _flush(self: Any, module: Any) -> dict[str, float]:
    """Writes the means of what has been added; numbers that are not finite are left out, as the host does."""
    means = {key: float(value) / self._counts[key] for key, value in self._accum.items()}
    finite = {key: mean for key, mean in means.items() if math.isfinite(mean)}
    if finite:
        for logger in module.loggers:
            logger.log_metrics(finite, step=module.global_step)
    self._accum, self._counts, self._steps = {}, {}, 0
    return finite
