"""The host's conditional wrappers take ``padding_mask[0]``: a number, so an error, where a mask has one axis.

The masks of its own audio folders and shards have one; its ``lm`` looks at their ``ndim`` and its pre-encoding script
wants one axis, so it is the wrappers that are given masks with a leading axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
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
    """Patches the training steps that take the mask, and what the inpainting demo reads."""
    from stable_audio_tools.training.arc import ARCTrainingWrapper
    from stable_audio_tools.training.diffusion import DiffusionCondInpaintDemoCallback, DiffusionCondTrainingWrapper

    for wrapper in (ARCTrainingWrapper, DiffusionCondTrainingWrapper):
        _patch(wrapper, "training_step", _step)
    _patch(DiffusionCondInpaintDemoCallback, "__init__", _demo)


def _patch(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    if not hasattr(original, _MARK):
        replacement = functools.wraps(original)(make(original))
        setattr(replacement, _MARK, True)
        setattr(owner, name, replacement)


def _step(original: Any) -> Any:
    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        reals, infos = batch
        return original(self, (reals, with_leading_axis(infos)), batch_idx)

    return training_step


def _demo(original: Any) -> Any:
    def __init__(self: Any, demo_dl: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, demo_dl, *args, **kwargs)
        self.demo_dl = _lifted(self.demo_dl)

    return __init__


def _lifted(batches: Iterator[Any]) -> Iterator[Any]:
    for reals, infos in batches:
        yield reals, with_leading_axis(infos)
