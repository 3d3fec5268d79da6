"""Short-time spectra of an audio pair, transformed once per resolution and shared by all terms."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from ..config import choice_error
from ..errors import UserError

#: Names of the four stereo components, and the letters that stand for them in JSON ("mslr").
COMPONENTS = {"m": "mid", "s": "side", "l": "left", "r": "right"}

Shared = TypeVar("Shared")


def parse_components(channels: str | Sequence[str]) -> tuple[str, ...]:
    """Component names from JSON: ``"mslr"``, ``["mid", "left"]`` or ``["m", "l"]``.

    >>> parse_components("lr"), parse_components(["side"])
    (('left', 'right'), ('side',))
    """
    if not isinstance(channels, Sequence):
        raise UserError(f'channels must be "mslr" or a list of component names, not {channels!r}')
    names = list(channels)
    if isinstance(channels, str) and channels in COMPONENTS.values():
        names = [channels]
    parsed = []
    for name in names:
        full = COMPONENTS.get(name, name)
        if full not in COMPONENTS.values():
            raise choice_error(
                "channel", channels if isinstance(channels, str) else name, [*COMPONENTS.values(), "mslr", "lr", "ms"]
            )
        parsed.append(full)
    if not parsed or len(set(parsed)) != len(parsed):
        raise UserError(
            f"channels must name each of mid, side, left, right at most once and at least one; got {channels!r}"
        )
    return tuple(parsed)


class Spectra:
    """Complex spectra of one signal at one resolution; mid and side are formed on demand.

    Args:
        channels: complex (batch, channels, bins, frames), left and right or one mono channel.
    """

    def __init__(self, channels: Tensor) -> None:
        self.channels = channels
        self._kept: dict[Hashable, object] = {}

    @cached_property
    def mid_side(self) -> Tensor:
        """Complex (batch, 2, bins, frames): (L + R)/2 and (L − R)/2."""
        left, right = self.channels[:, 0], self.channels[:, 1]
        return torch.stack((left + right, left - right), dim=1) / 2

    def components(self, names: Sequence[str]) -> Tensor:
        """Complex (batch, len(names), bins, frames); of a mono signal, its one channel whatever the names."""
        if self.channels.shape[1] == 1 or tuple(names) == ("left", "right"):
            return self.channels
        of = {"left": (self.channels, 0), "right": (self.channels, 1)}
        if not {"mid", "side"}.isdisjoint(names):
            of |= {"mid": (self.mid_side, 0), "side": (self.mid_side, 1)}
        return torch.stack([signals[:, i] for signals, i in map(of.__getitem__, names)], dim=1)

    def magnitude(self, names: Sequence[str]) -> Tensor:
        """|X| of :meth:`components`, real (batch, len(names), bins, frames)."""
        return self.once(("magnitude", *names), lambda: self.components(names).abs())

    def once(self, key: Hashable, compute: Callable[[], Shared]) -> Shared:
        """The result of ``compute()``, kept for the next term that asks for ``key``."""
        if key not in self._kept:
            self._kept[key] = compute()
        return cast("Shared", self._kept[key])


class SpectraPair(NamedTuple):
    """Spectra of estimate and target at one resolution."""

    preds: Spectra
    target: Spectra
