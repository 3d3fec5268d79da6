"""The host's ``generate_diffusion_uncond`` asks for an objective that its model lacks, then passes a mask too many."""

from __future__ import annotations

import functools
from typing import Any

_MARK = "_ear_sat_drops_mask"


def apply() -> None:
    """Gives the model the objective that the host's unconditional wrapper trains, and drops the mask, always None."""
    from stable_audio_tools.inference import generation
    from stable_audio_tools.models.diffusion import DiffusionModelWrapper

    if not hasattr(DiffusionModelWrapper, "diffusion_objective"):
        DiffusionModelWrapper.diffusion_objective = "v"
    original = generation.sample_k
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def sample_k(model_fn: Any, noise: Any, init_data: Any = None, *mask_and_steps: Any, **settings: Any) -> Any:
        return original(model_fn, noise, init_data, *mask_and_steps[-1:], **settings)

    setattr(sample_k, _MARK, True)
    generation.sample_k = sample_k
