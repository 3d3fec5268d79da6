"""What a test with tones, sweep, click and silence has found: arrays, and their form in JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .steady import Array

DIGITS = 6  # of numbers in JSON files


@dataclass(frozen=True)
class ToneResults:
    """One measurement of a device. NaN: nothing to read (the answer is silent or not finite, or noise hides it).

    Channels come first in every array. Gains and ratios are in dB, levels in dBFS (full-scale sine = 0 dBFS RMS), and
    −300 dB stands for exactly nothing.

    Attributes:
        sample_rate: in Hz.
        channels: of the device.
        signal_seconds: audio that the device processed.
        settle_seconds: how much of a tone was left out at either end.
        frequencies_hz: of the tones, (tones,).
        levels_dbfs: of the tones, (levels,).
        thd_n_db: residual of the notch against the total, (channels, levels, tones).
        thd_db: harmonics against the fundamental, the same shape; NaN where no harmonic is in band.
        gain_db: of the fundamental, the same shape.
        steps_dbfs: levels of the 997 Hz tone that was stepped in level, (steps,).
        step_thd_n_db: its THD+N, (channels, steps).
        step_thd_db: its THD.
        step_gain_db: its gain.
        dynamic_range_db: 0 dBFS against the residual of 997 Hz at −60 dBFS, (channels, 3): unweighted, A, CCIR-RMS.
        response_hz: of the sweep's responses, (points,).
        magnitude_db: raw response, (channels, points).
        smoothed_db: mean power over a sixth of an octave.
        group_delay_samples: the same shape.
        harmonic_orders: numbers of the harmonics, (orders,).
        harmonics_db: against the fundamental, at its frequency, (channels, orders, points).
        impulse_seconds: time axis of the impulse response, 0 at its peak, (time,).
        impulse_response: (channels, time).
        delay_samples: of its peak, (channels,).
        polarity: 1 or −1, (channels,).
        click_seconds: time axis of the click, 0 at its peak, (time,).
        click_source: what went in, (time,).
        click_response: what came out, (channels, time).
        click_gain_db: peak against peak, (channels,).
        click_delay_samples: (channels,).
        click_before_db: energy more than 1 ms before the peak against all of it, (channels,).
        click_after_db: the same after the peak.
        crosstalk_hz: (tones,).
        crosstalk_db: level in the silent channel against the driven one: left into right, right into left, (2, tones).
        noise_dbfs: answer to silence in band, (channels, 3): unweighted, A, CCIR-RMS.
        noise_peak_db: its greatest sample, dB of full scale, (channels,).
        noise_dc_db: magnitude of its mean, dB of full scale, (channels,).
        spectrum_hz: of the spectra, (cells,).
        noise_spectrum_dbfs: of the answer to silence, (channels, cells); a sine reads its level.
        loud_spectrum_dbfs: of 997 Hz at −1 dBFS.
        soft_spectrum_dbfs: of 997 Hz at −60 dBFS.
    """

    sample_rate: int
    channels: int
    signal_seconds: float
    settle_seconds: float
    frequencies_hz: Array
    levels_dbfs: Array
    thd_n_db: Array
    thd_db: Array
    gain_db: Array
    steps_dbfs: Array
    step_thd_n_db: Array
    step_thd_db: Array
    step_gain_db: Array
    dynamic_range_db: Array
    response_hz: Array
    magnitude_db: Array
    smoothed_db: Array
    group_delay_samples: Array
    harmonic_orders: Array
    harmonics_db: Array
    impulse_seconds: Array
    impulse_response: Array
    delay_samples: Array
    polarity: Array
    click_seconds: Array
    click_source: Array
    click_response: Array
    click_gain_db: Array
    click_delay_samples: Array
    click_before_db: Array
    click_after_db: Array
    crosstalk_hz: Array
    crosstalk_db: Array
    noise_dbfs: Array
    noise_peak_db: Array
    noise_dc_db: Array
    spectrum_hz: Array
    noise_spectrum_dbfs: Array
    loud_spectrum_dbfs: Array
    soft_spectrum_dbfs: Array

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers of six digits under the attributes' names; NaN becomes None."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def channel_names(self) -> list[str]:
        """L and R, or numbers."""
        return ["L", "R"] if self.channels == 2 else [f"channel {index + 1}" for index in range(self.channels)]


def _plain(value: Any) -> Any:
    """Lists, ints and floats of an array or a number.

    >>> _plain(np.array([[1.0, math.nan], [1 / 3, 2.0]])), _plain(44100)
    ([[1.0, None], [0.333333, 2.0]], 44100)
    """
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
