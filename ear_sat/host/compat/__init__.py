"""Mends for the host, one small file each; delete a file and its line here when the host no longer needs it.

A mend looks at what the installed host can do, never at its version.
"""

from . import (
    copy_state,
    gradient_statistics,
    inpaint_demo,
    inpaint_validation,
    inverse_lr,
    item_rejects,
    padding_mask,
    pretransform_eval,
    safetensors_export,
    shard_lists,
    shard_names,
    shard_rejects,
    short_audio,
    staggered_log,
    uncond_generation,
    validation_metrics,
)
from .worker_count import mended_loaders, settled_workers

__all__ = ["MENDS", "apply", "mended_loaders", "settled_workers"]

MENDS = (
    copy_state,
    gradient_statistics,
    inpaint_demo,
    inpaint_validation,
    inverse_lr,
    item_rejects,
    padding_mask,
    pretransform_eval,
    safetensors_export,
    shard_lists,
    shard_names,
    shard_rejects,
    short_audio,
    staggered_log,
    uncond_generation,
    validation_metrics,
)


def apply() -> None:
    """Applies each mend where it is needed; calling it again changes nothing.

    Raises:
        AttributeError, ImportError: the host has nothing of the name that a mend changes.
    """
    for mend in MENDS:
        mend.apply()
