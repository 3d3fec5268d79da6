"""The host's inpainting demo is given masks of raw audio and takes them for masks of latents.

0.0.19 then masks places far behind the end of the latents: nothing, so its demo inpaints nothing. 0.0.20 multiplies the
two lengths and stops.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from torch.nn.functional import interpolate

from .padding_mask import with_leading_axis

_MARK = "_ear_sat_fits_masks"


def apply() -> None:
    """Lets the demo read masks of the latents' length."""
    from stable_audio_tools.training.diffusion import DiffusionCondInpaintDemoCallback

    original = DiffusionCondInpaintDemoCallback.on_train_batch_end
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def on_train_batch_end(self: Any, trainer: Any, module: Any, *arguments: Any) -> None:
        batches = self.demo_dl
        if batches is not None:  # 0.0.20 can do without
            self.demo_dl = fitted(batches, module)
        try:
            original(self, trainer, module, *arguments)
        finally:
            self.demo_dl = batches

    setattr(on_train_batch_end, _MARK, True)
    DiffusionCondInpaintDemoCallback.on_train_batch_end = on_train_batch_end


def fitted(batches: Iterator[Any], module: Any) -> Iterator[Any]:
    """``batches`` with padding masks (1, frames of the latents that ``module`` makes of each batch)."""
    pretransform = None if module.pre_encoded else module.diffusion.pretransform
    for reals, infos in batches:
        frames = reals.shape[-1] if pretransform is None else -(-reals.shape[-1] // pretransform.downsampling_ratio)
        yield reals, tuple(_stretched(info, frames) for info in with_leading_axis(infos))


def _stretched(info: dict[str, Any], frames: int) -> dict[str, Any]:
    mask = info.get("padding_mask")
    if mask is None:
        return info
    return {**info, "padding_mask": interpolate(mask[0].float()[None, None], size=frames)[0]}
