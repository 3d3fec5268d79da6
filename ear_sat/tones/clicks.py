"""A band-limited click, and what a device makes of it: the impulse as it is, not as a sweep computes it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .steady import Array, decibels, measurable
from .sweeps import TOP

CLICK_HALF = 32  # samples; at 44.1 kHz the click is silent from 0.73 ms on
CLICK_SHOWN = 0.02  # seconds before and after the click
CLICK_NEAR = 0.001  # seconds; energy further off is pre-echo and tail


def click(sample_rate: int, level_db: float, settle_seconds: float) -> Array:
    """A band-limited impulse (a sinc up to 0.92 Nyquist, Kaiser window) amid silence; its peak in dB of full scale."""
    offsets = np.arange(-CLICK_HALF, CLICK_HALF + 1)
    pulse = np.sinc(TOP * offsets) * np.kaiser(len(offsets), 8.0)
    return np.pad(10 ** (level_db / 20) * pulse, round(settle_seconds * sample_rate))


@dataclass(frozen=True)
class ClickReading:
    """What :func:`read_click` reads in one channel; NaN where there is nothing to read.

    Attributes:
        response: 20 ms before to 20 ms after the click, (time,).
        gain_db: its peak against the click's.
        delay_samples: of its peak.
        before_db: energy more than 1 ms before its peak against all of it: pre-echo.
        after_db: energy more than 1 ms after its peak against all of it.
    """

    response: Array
    gain_db: float
    delay_samples: float
    before_db: float
    after_db: float


def read_click(answer: Array, source: Array, sample_rate: int) -> ClickReading:
    """Reads one channel, (time,), of a device's answer to the click ``source`` (time,)."""
    middle, half, near = len(source) // 2, round(CLICK_SHOWN * sample_rate), round(CLICK_NEAR * sample_rate)
    shown = answer[middle - half : middle + half + 1]
    if not measurable(shown):
        return ClickReading(np.full(2 * half + 1, math.nan), math.nan, math.nan, math.nan, math.nan)
    energy = shown**2
    peak = int(np.argmax(energy))
    return ClickReading(
        response=shown,
        gain_db=float(decibels(energy[peak] / source[middle] ** 2)),
        delay_samples=float(peak - half),
        before_db=float(decibels(energy[: max(0, peak - near)].sum() / energy.sum())),
        after_db=float(decibels(energy[peak + near + 1 :].sum() / energy.sum())),
    )
