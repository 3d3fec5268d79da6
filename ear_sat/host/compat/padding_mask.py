"""The host's conditional wrappers take ``padding_mask[0]``: a number, so an error, where a mask has one axis.

The masks of its own audio folders and shards have one; its ``lm`` looks at their ``ndim`` and its pre-encoding script
wants one axis, so it is the wrappers that are given masks with a leading axis.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch

_MARK = "_ear_sat_takes_plain_masks"


def with_leading_axis(infos: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The metadata of a batch with masks of shape (1, time); other forms and the given dictionaries stay as they are.

    >>> with_leading_axis([{"padding_mask": torch.ones(5)}])[0]["padding_mask"].shape
    torch.Size([1, 5])
    """

    def lifted(info: dict[str, Any]) -> dict[str, Any]:
        mask = info.get("padding_mask")
        if isinstance(mask, torch.Tensor) and mask.ndim == 1:
            return {**info, "padding_mask": mask.unsqueeze(0)}
        return info

    return tuple(lifted(info) for info in infos)


def apply() -> None:
    """Patches the steps that take the mask."""
    from stable_audio_tools.training.arc import ARCTrainingWrapper
    from stable_audio_tools.training.diffusion import DiffusionCondTrainingWrapper

    for wrapper in (ARCTrainingWrapper, DiffusionCondTrainingWrapper):
        for name in ("training_step", "validation_step"):
            _patch(wrapper, name)


def _patch(wrapper: Any, name: str) -> None:
    original = getattr(wrapper, name)
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        reals, infos = batch
        return original(self, (reals, with_leading_axis(infos)), batch_idx)

    setattr(step, _MARK, True)
    setattr(wrapper, name, step)
