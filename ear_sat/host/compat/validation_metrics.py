"""The host's conditional wrapper writes its validation losses to wandb and comet only; ours goes to every logger.

Its mean over an epoch without batches is also a division by zero.
"""

from __future__ import annotations

from typing import Any

_MARK = "_ear_sat_logs_everywhere"


def apply() -> None:
    """Replaces the end of a validation epoch; the keys and the values stay the host's."""
    from stable_audio_tools.training.diffusion import DiffusionCondTrainingWrapper

    if hasattr(DiffusionCondTrainingWrapper.on_validation_epoch_end, _MARK):
        return

    def on_validation_epoch_end(self: Any) -> None:
        losses = {key: sum(values) / len(values) for key, values in self.validation_step_outputs.items() if values}
        if losses:
            average = sum(losses.values()) / len(losses)
            self.log_dict({**losses, "val/avg_loss": average}, sync_dist=True)
        for values in self.validation_step_outputs.values():
            values.clear()

    setattr(on_validation_epoch_end, _MARK, True)
    DiffusionCondTrainingWrapper.on_validation_epoch_end = on_validation_epoch_end
