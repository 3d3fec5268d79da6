"""0.0.19 validates an inpainting model without the mask that it is conditioned on, and stops there.

As 0.0.20 does, it is asked for the whole clip: nothing is kept, so the mask and what it keeps are zeros.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

_MARK = "_ear_sat_asks_for_everything"


def apply() -> None:
    """Adds the two conditions during validation where they are missing."""
    from stable_audio_tools.training.diffusion import DiffusionCondTrainingWrapper

    original = DiffusionCondTrainingWrapper.validation_step
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def validation_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.inpainting_config is None:
            return original(self, batch, batch_idx)
        handle = self.diffusion.register_forward_pre_hook(_add_masks, with_kwargs=True)
        try:
            return original(self, batch, batch_idx)
        finally:
            handle.remove()

    setattr(validation_step, _MARK, True)
    DiffusionCondTrainingWrapper.validation_step = validation_step


def _add_masks(module: nn.Module, arguments: Any, keywords: dict[str, Any]) -> Any:
    latents, conditions = arguments[0], keywords["cond"]
    missing = {
        "inpaint_mask": [torch.zeros_like(latents[:, :1])],
        "inpaint_masked_input": [torch.zeros_like(latents)],
    }
    return arguments, {**keywords, "cond": {**missing, **conditions}}
