"""The host's unconditional latent diffusion trains, but neither of its versions generates from it.

Both ask the model for an objective that it lacks. 0.0.19 then passes ``sample_k`` a mask too many; 0.0.20's unified
sampler passes on keywords of guidance that only its conditional networks take, so its demos end in a message.
"""

from __future__ import annotations

import functools
from typing import Any

_MARK = "_ear_sat_drops_guidance"
#: What 0.0.20's sampler hands to every network; without conditions there is nothing to guide.
GUIDANCE = ("cfg_scale", "batch_cfg", "rescale_cfg", "apg_scale", "padding_mask")


def apply() -> None:
    """Names the objective that the host's unconditional wrapper trains, and drops what the call has too much."""
    from stable_audio_tools.inference import generation
    from stable_audio_tools.models import diffusion

    if not hasattr(diffusion.DiffusionModelWrapper, "diffusion_objective"):
        diffusion.DiffusionModelWrapper.diffusion_objective = "v"
    if hasattr(generation, "sample_k"):
        _drop_mask(generation)
    else:
        for network in (diffusion.DiTUncondWrapper, diffusion.UNet1DUncondWrapper, diffusion.DiffusionAttnUnet1D):
            _drop_guidance(network)


def _drop_mask(generation: Any) -> None:
    original = generation.sample_k
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def sample_k(model_fn: Any, noise: Any, init_data: Any = None, *mask_and_steps: Any, **settings: Any) -> Any:
        return original(model_fn, noise, init_data, *mask_and_steps[-1:], **settings)

    setattr(sample_k, _MARK, True)
    generation.sample_k = sample_k


def _drop_guidance(network: Any) -> None:
    original = network.forward
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def forward(self: Any, x: Any, t: Any, **kwargs: Any) -> Any:
        return original(self, x, t, **{key: value for key, value in kwargs.items() if key not in GUIDANCE})

    setattr(forward, _MARK, True)
    network.forward = forward
