"""The host's ``copy_state_dict`` skips keys that do not match without a word; ours says how many."""

from __future__ import annotations

import functools
import logging
from typing import Any

logger = logging.getLogger(__name__)

_MARK = "_ear_sat_counts"


def apply() -> None:
    """Replaces every binding of the function; what it copies stays the same."""
    from stable_audio_tools.models import utils

    from ..register import host_modules

    original = utils.copy_state_dict
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def copy_state_dict(model: Any, state_dict: Any) -> None:
        own = model.state_dict()
        fitting = {key for key in own if key in state_dict and state_dict[key].shape == own[key].shape}
        if len(fitting) < max(len(own), len(state_dict)):
            logger.warning(
                "%d of the model's %d tensors were loaded; %d of the file's %d were skipped: other names or shapes",
                len(fitting),
                len(own),
                len(state_dict) - len(fitting),
                len(state_dict),
            )
        original(model, state_dict)

    setattr(copy_state_dict, _MARK, True)
    for module in host_modules():
        if getattr(module, "copy_state_dict", None) is original:
            module.copy_state_dict = copy_state_dict  # type: ignore[attr-defined]
