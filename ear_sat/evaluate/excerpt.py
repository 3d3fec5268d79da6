"""The excerpt of a file that is worth looking at and listening to: the ten seconds in which the systems err most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .loading import SAMPLE_RATE, LoadedPair, load_pair

EXCERPT_SECONDS = 10.0
_BLOCK = SAMPLE_RATE // 10


@dataclass(frozen=True)
class Excerpt:
    """The same stretch of the reference and of what every system made of it.

    Attributes:
        start: first sample in the reference file, at :data:`SAMPLE_RATE`.
        signals: "reference", then the systems → (1 | 2, time), all of one length.
        targets: system → the reference as that system was compared with it: mono may have been copied to two channels.
    """

    start: int
    signals: dict[str, Tensor]
    targets: dict[str, Tensor]

    @property
    def length(self) -> int:
        """In samples."""
        return self.signals["reference"].shape[-1]


def load_excerpt(reference: Path, estimates: Mapping[str, Path], align: bool) -> Excerpt:
    """Loads one file of all systems and takes the stretch of it where their errors have the most energy.

    Raises:
        UnusableFileError: a file has become unreadable since it was measured.
    """
    pairs = {system: load_pair(reference, path, align) for system, path in estimates.items()}
    start, length = _stretch(list(pairs.values()))
    targets = {system: _cut(pair.target, pair, start, length) for system, pair in pairs.items()}
    signals = {system: _cut(pair.preds, pair, start, length) for system, pair in pairs.items()}
    return Excerpt(start, {"reference": next(iter(targets.values())), **signals}, targets)


def _cut(signal: Tensor, pair: LoadedPair, start: int, length: int) -> Tensor:
    return signal[:, start - pair.start :][:, :length]


def _stretch(pairs: Sequence[LoadedPair]) -> tuple[int, int]:
    """Start (in the reference) and length in samples: where the errors of all systems have the most energy."""
    begin = max(pair.start for pair in pairs)
    end = min(pair.start + pair.target.shape[-1] for pair in pairs)
    size = round(EXCERPT_SECONDS * SAMPLE_RATE)
    if end - begin <= size:
        return begin, max(1, end - begin)
    cuts = [slice(begin - pair.start, end - pair.start) for pair in pairs]
    error = torch.stack([energy(p.preds[:, c] - p.target[:, c]) for p, c in zip(pairs, cuts, strict=True)])
    course = error.sum(0)
    if not course.any():  # all are perfect: where the music is loudest
        course = energy(pairs[0].target[:, cuts[0]])
    return min(begin + strongest(course, size), end - size), size


def energy(signal: Tensor) -> Tensor:
    """Energy of (channels, time) per whole tenth of a second, (blocks,)."""
    return signal.square().sum(0).unfold(0, _BLOCK, _BLOCK).sum(-1)


def strongest(course: Tensor, size: int) -> int:
    """First sample of the stretch of ``size`` samples with the most of an :func:`energy`."""
    return int(course.unfold(0, min(size // _BLOCK, len(course)), 1).sum(-1).argmax()) * _BLOCK
