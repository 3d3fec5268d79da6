"""The axis of a run: finished rounds of our wrapper, Lightning's steps of the host's."""

from __future__ import annotations

from typing import Any


def rounds_of(trainer: Any, module: Any) -> int:
    """Finished rounds; the host's wrappers do not count any, so their optimizer steps stand for them."""
    return int(getattr(module, "rounds", trainer.global_step))
