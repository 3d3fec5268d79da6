"""Short-time spectra of an audio pair, transformed once per resolution and shared by all terms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import choice_error
from ..errors import UserError

#: −100 dBFS: magnitudes below count as silence. From the design of the magnitude term.
FLOOR = 1e-5

#: Names of the four stereo components, and the letters that stand for them in JSON ("mslr").
COMPONENTS = {"m": "mid", "s": "side", "l": "left", "r": "right"}


class Resolution(NamedTuple):
    """Window length and hop length in samples."""

    window: int
    hop_length: int


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


class STFT(nn.Module):
    """Hann-windowed STFT scaled by 4/window, so that a bin-centred sine away from DC and Nyquist reads its amplitude.

    Centred, reflect padding; a signal too short to reflect is padded with zeros up to one window first.

    Shapes: (..., time) → complex (..., bins, frames) with bins = window/2 + 1.

    >>> n = torch.arange(1024)
    >>> spectrum = STFT(Resolution(256, 64))(0.5 * torch.cos(2 * torch.pi * 32 / 256 * n)).abs()
    >>> round(spectrum[32, 8].item(), 4)
    0.5
    """

    window: Tensor

    def __init__(self, resolution: Resolution) -> None:
        super().__init__()
        self.resolution = resolution
        hann = torch.hann_window(resolution.window) * (4 / resolution.window)
        self.register_buffer("window", hann, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, hop = self.resolution
        x = x.float()
        batch = x.shape[:-1]
        x = F.pad(x, (0, max(0, n - x.shape[-1])))
        spectrum = torch.stft(
            x.reshape(-1, x.shape[-1]), n, hop, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )
        return spectrum.reshape(*batch, *spectrum.shape[1:])


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

    def power(self, names: Sequence[str]) -> Tensor:
        """|X|² of :meth:`components`, real (batch, len(names), bins, frames), computed once per set of names."""
        key = ("power", *names)
        if key not in self.shared:
            parts = torch.view_as_real(self.components(names))
            self.shared[key] = parts[..., 0].square() + parts[..., 1].square()
        return self.shared[key]


class SpectraPair(NamedTuple):
    """Spectra of estimate and target at one resolution."""

    preds: Spectra
    target: Spectra


def resolutions(windows: Sequence[int], hop_factor: float) -> list[Resolution]:
    """Checked resolutions of a term.

    >>> resolutions([512], 0.25)
    [Resolution(window=512, hop_length=128)]
    """
    numbers = isinstance(windows, Sequence) and all(isinstance(w, int | float) for w in windows)
    if not windows or not numbers or any(not 4 <= w < float("inf") or int(w) != w for w in windows):
        raise UserError(f"windows must be a list of whole numbers of samples, 4 or more; got {windows}")
    if not isinstance(hop_factor, int | float) or not 0 < hop_factor <= 1:
        raise UserError(f"hop_factor is the hop as a fraction of the window, above 0 and at most 1; got {hop_factor}")
    return [Resolution(int(w), max(1, int(w * hop_factor))) for w in windows]
