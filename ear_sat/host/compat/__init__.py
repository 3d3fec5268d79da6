"""Mends for the host, one small file each; delete a file and its line here when the host no longer needs it."""

from . import (
    copy_state,
    inpaint_mask,
    inverse_lr,
    padding_mask,
    pretransform_eval,
    short_audio,
    uncond_generation,
    validation_metrics,
)
from .worker_count import worker_count_zero

__all__ = ["apply", "worker_count_zero"]


def apply() -> None:
    """Applies each mend where it is needed; calling it again changes nothing."""
    inverse_lr.apply()
    pretransform_eval.apply()
    padding_mask.apply()
    inpaint_mask.apply()
    uncond_generation.apply()
    validation_metrics.apply()
    copy_state.apply()
    short_audio.apply()
