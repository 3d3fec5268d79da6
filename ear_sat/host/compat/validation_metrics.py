"""The host's wrappers write what they validate to wandb and comet only; ours goes to every logger.

The conditional wrapper's mean over an epoch without batches is also a division by zero.
"""

from __future__ import annotations

import functools
from typing import Any

_MARK = "_ear_sat_logs_everywhere"


def apply() -> None:
    """Replaces the end of a validation epoch; the keys and the values stay the host's."""
    from stable_audio_tools.training import autoencoders, diffusion

    _patch(diffusion.DiffusionCondTrainingWrapper, _mean_losses)
    _patch(autoencoders.AutoencoderTrainingWrapper, functools.partial(_caught, autoencoders))


def _patch(wrapper: Any, make: Any) -> None:
    original = wrapper.on_validation_epoch_end
    if not hasattr(original, _MARK):
        replacement = make(original)
        setattr(replacement, _MARK, True)
        wrapper.on_validation_epoch_end = replacement


def _mean_losses(original: Any) -> Any:
    @functools.wraps(original)
    def on_validation_epoch_end(self: Any) -> None:
        losses = {key: sum(values) / len(values) for key, values in self.validation_step_outputs.items() if values}
        if losses:
            average = sum(losses.values()) / len(losses)
            self.log_dict({**losses, "val/avg_loss": average}, sync_dist=True)
        for values in self.validation_step_outputs.values():
            values.clear()

    return on_validation_epoch_end


def _caught(module: Any, original: Any) -> Any:
    """What the autoencoders' wrapper hands to ``log_metric``, a mean over all ranks, goes to ``log_dict``."""

    @functools.wraps(original)
    def on_validation_epoch_end(self: Any) -> None:
        metrics: dict[str, float] = {}

        def log_metric(logger: Any, key: str, value: Any, step: int | None = None) -> None:
            metrics[key] = float(value)

        kept, module.log_metric = module.log_metric, log_metric
        try:
            original(self)
        finally:
            module.log_metric = kept
        self.log_dict(metrics)

    return on_validation_epoch_end
