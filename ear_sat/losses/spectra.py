"""Short-time spectra of an audio pair, transformed once per resolution and shared by all terms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..config import choice_error
from ..errors import UserError
from .power import mixed_power
from .stft import split

#: Names of the four stereo components, and the letters that stand for them in JSON ("mslr").
COMPONENTS = {"m": "mid", "s": "side", "l": "left", "r": "right"}
#: What each takes of left and right.
MIX = {"mid": (0.5, 0.5), "side": (0.5, -0.5), "left": (1.0, 0.0), "right": (0.0, 1.0)}


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
        #: Results that several terms use, by key.
        self.shared: dict[tuple[object, ...], Any] = {}

    @cached_property
    def mid_side(self) -> Tensor:
        """Complex (batch, 2, bins, frames): (L + R)/2 and (L − R)/2."""
        left, right = self.channels[:, 0], self.channels[:, 1]
        return torch.stack((left + right, left - right), dim=1) / 2

    def components(self, names: Sequence[str]) -> Tensor:
        """Complex (batch, len(names), bins, frames); of a mono signal, its one channel whatever the names."""
        if self.channels.shape[1] == 1:
            return self.channels
        places = {"left": (0, 0), "right": (0, 1), "mid": (1, 0), "side": (1, 1)}
        sources = [places[name] for name in names]
        if sources == [(0, 0), (0, 1)]:
            return self.channels
        if sources == [(1, 0), (1, 1)]:
            return self.mid_side
        return torch.stack([(self.mid_side if s else self.channels)[:, i] for s, i in sources], dim=1)

    def planes(self, names: Sequence[str]) -> Tensor:
        """:meth:`components` split, real (2, batch, len(names), bins, frames), once per set of names."""
        key = ("planes", *names)
        if key not in self.shared:
            self.shared[key] = split(self.components(names))
        return self.shared[key]

    def power(self, names: Sequence[str]) -> Tensor:
        """|X|² of :meth:`components`, real (batch, len(names), bins, frames), computed once per set of names."""
        key = ("power", *names)
        if key not in self.shared:
            mix = [(1.0,)] if self.channels.shape[1] == 1 else [MIX[name] for name in names]
            self.shared[key] = mixed_power(self.planes(("left", "right")), mix)
        return self.shared[key]


class SpectraPair(NamedTuple):
    """Spectra of estimate and target at one resolution."""

    preds: Spectra
    target: Spectra
