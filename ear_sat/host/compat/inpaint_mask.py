"""The host's inpainting demo takes the padding masks of raw audio, in samples, for masks of latents.

It then masks places far behind the end of the latents: nothing, so its demo inpaints nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

_MARK = "_ear_sat_fits_masks"


def apply() -> None:
    """Makes ``random_inpaint_mask`` stretch padding masks (batch, any length) to the sequence's length."""
    from stable_audio_tools.models import inpainting
    from stable_audio_tools.training import arc, diffusion

    original = inpainting.random_inpaint_mask
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def random_inpaint_mask(sequence: Tensor, padding_masks: Tensor, *args: Any, **kwargs: Any) -> Any:
        length = sequence.shape[-1]
        if padding_masks.shape[-1] != length:
            stretched = torch.nn.functional.interpolate(padding_masks.unsqueeze(1).float(), size=length)
            padding_masks = stretched.squeeze(1)
        return original(sequence, padding_masks, *args, **kwargs)

    setattr(random_inpaint_mask, _MARK, True)
    for module in (inpainting, arc, diffusion):
        module.random_inpaint_mask = random_inpaint_mask
