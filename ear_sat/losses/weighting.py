"""Perceptual weighting by K-weighting (BS.1770) or A-weighting (IEC 61672): of signals, and of spectral bins."""

from __future__ import annotations

import functools
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checks import require_number
from ..config import check_choice
from ..value_types import Range
from ..weighting import a_gain, k_gain

WEIGHTINGS = ("k", "a", "none")
WEIGHTING_MODES = ("prefilter", "gain", "bins")
WeightingFloor = Annotated[float, Range(at_least=-200, at_most=0, unit="dB")]


class Weighting(NamedTuple):
    """A curve of gains over frequency.

    name: ``"k"``, ``"a"`` or ``"none"``.
    sample_rate: Hz.
    floor_db: neither curve has any gain at DC, and hardly any below 20 Hz; this many dB are added in power, so that no
        frequency has less. None for none.
    """

    name: str
    sample_rate: float
    floor_db: float | None = None

    def gain(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gains at frequencies in Hz.

        >>> [round(float(g), 3) for g in Weighting("k", 44100, -20).gain(np.array([0.0, 1000.0]))]
        [0.1, 1.089]
        """
        if self.name == "none":
            return np.ones_like(frequency)
        gain = k_gain(frequency, self.sample_rate) if self.name == "k" else a_gain(frequency)
        return gain if self.floor_db is None else np.hypot(gain, 10 ** (self.floor_db / 20))


def check_weighting(name: str, sample_rate: float, floor_db: float | None) -> Weighting:
    """The curve with these settings; raises :class:`UserError` for a name or a floor that is none."""
    check_choice("weighting", name, WEIGHTINGS)
    if floor_db is not None:
        require_number("weighting_floor_db, if not null,", floor_db, at_least=-200, at_most=0, unit="dB")
    return Weighting(name, sample_rate, floor_db)


def bin_gain(weighting: str, window: int, sample_rate: float, floor_db: float | None = None) -> Tensor | None:
    """Gain per STFT bin, float32 (window/2 + 1,); None for no weighting."""
    curve = check_weighting(weighting, sample_rate, floor_db)
    return None if weighting == "none" else _gains(curve, window, torch.device("cpu"))


def filtered(signals: Tensor, weighting: Weighting) -> Tensor:
    """Signals filtered with the gains of ``weighting`` and no delay: zero phase, |H| of the standard's filters.

    The signals are taken as mirrored at both ends, again and again, which is nearly what the STFT's padding makes of
    them: an FFT of twice the length then filters without any wrap, and a cut in the middle of a bass note is no step.

    Args:
        signals: (..., time), float32.

    Returns:
        (..., time).

    >>> time = torch.arange(44100) / 44100
    >>> tone = torch.cos(2 * torch.pi * 100 * time)
    >>> ratio = filtered(tone, Weighting("k", 44100)).norm() / tone.norm()
    >>> round(20 * ratio.log10().item(), 2)  # K at 100 Hz
    -1.13
    """
    time = signals.shape[-1]
    mirrored = torch.cat((signals, signals.flip(-1)), dim=-1)
    spectrum = torch.fft.rfft(mirrored) * _gains(weighting, 2 * time, signals.device)
    return torch.fft.irfft(spectrum, 2 * time)[..., :time]


@functools.lru_cache(maxsize=16)
def _gains(weighting: Weighting, length: int, device: torch.device) -> Tensor:
    """Gains at the frequencies of a real FFT, float32 (length // 2 + 1,)."""
    frequency = np.fft.rfftfreq(length, 1 / weighting.sample_rate)
    return torch.from_numpy(weighting.gain(frequency)).to(device, torch.float32)
