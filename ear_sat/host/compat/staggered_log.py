"""0.0.20 averages its numbers over some steps, numbers them one too low and loses those of a run's last steps.

It also writes to the first logger only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

_MARK = "_ear_sat_flushes"


def apply() -> None:
    """Makes ``StaggeredLogger`` only add up, and its wrappers write to every logger after a step and at the end."""
    from stable_audio_tools.training import utils

    staggered = getattr(utils, "StaggeredLogger", None)
    if staggered is None or hasattr(staggered, _MARK):
        return
    staggered.log = _add
    setattr(staggered, _MARK, True)
    for wrapper in _wrappers():
        wrapper.on_train_batch_end = _then_write(wrapper.on_train_batch_end, in_training=True)
        wrapper.on_train_end = _then_write(wrapper.on_train_end, in_training=False)


def _wrappers() -> list[Any]:
    from stable_audio_tools.training.arc import ARCTrainingWrapper
    from stable_audio_tools.training.autoencoders import AutoencoderTrainingWrapper
    from stable_audio_tools.training.diffusion import DiffusionCondTrainingWrapper

    return [ARCTrainingWrapper, AutoencoderTrainingWrapper, DiffusionCondTrainingWrapper]


def _add(self: Any, log_dict: dict[str, Any], module: Any) -> None:
    """Adds the numbers of a step, on whatever device they are."""
    for key, value in log_dict.items():
        number = value.detach() if torch.is_tensor(value) else value
        self._accum[key] = self._accum[key] + number if key in self._accum else number
        self._counts[key] = self._counts.get(key, 0) + 1
    self._steps += 1


def _then_write(original: Callable[..., Any], in_training: bool) -> Callable[..., Any]:
    """The hook ``original``, and then the means: in training where enough steps came together, else what is left."""

    def hook(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        staggered = self._staggered_logger
        if staggered._steps >= (staggered.every_n_steps if in_training else 1):
            means = _means(staggered)
            for logger in self.loggers:
                logger.log_metrics(means, step=self.global_step)
            if in_training:
                self.log_dict(means, prog_bar=True, on_step=True, logger=False)

    return hook


def _means(staggered: Any) -> dict[str, float]:
    """The means of what has been added, which starts anew; numbers that are not finite are left out, as in the host."""
    means = {key: float(value) / staggered._counts[key] for key, value in staggered._accum.items()}
    staggered._accum, staggered._counts, staggered._steps = {}, {}, 0
    return {key: mean for key, mean in means.items() if math.isfinite(mean)}
