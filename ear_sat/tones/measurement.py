"""The run of all test signals over a device: what an audio analyser would be set to do with it on the bench.

Every tone is a call of its own: a device that attends to all of its input (a transformer does) would otherwise answer
one tone differently because of its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .clicks import CLICK_SHOWN, click, read_click
from .results import ToneResults
from .steady import (
    Array,
    ToneReading,
    coherent_length,
    decibels,
    log_cells,
    log_spectrum,
    measurable,
    power_spectrum,
    read_noise,
    read_tone,
    tone,
)
from .sweeps import HARMONICS, KEPT, exponential_sweep, read_sweep, response_frequencies

Process = Callable[[Tensor], Tensor]
Progress = Callable[[int, int], None]

FREQUENCIES_HZ = (20, 50, 100, 200, 400, 997, 2000, 4000, 6000, 8000, 10000, 12000, 15000, 18000)
LEVELS_DBFS = (-1.0, -20.0, -60.0)
STEP_HZ = 997  # AES17: next to 1 kHz, and a prime, so that it shares no period with the sample rate
STEPS_DBFS = (-60.0, -50.0, -40.0, -30.0, -20.0, -10.0, -1.0)
CROSSTALK_HZ = (50, 100, 400, 997, 2000, 4000, 8000, 15000)
RESPONSE_DBFS = -20.0  # of the sweep (AES17: frequency response) and, ours, of the crosstalk
CLICK_DB = -6.0  # peak of the click, dB of full scale
TONE_SECONDS = 0.5  # least length that is read; 997 Hz takes 1 s
SILENCE_SECONDS = 2.0
HIGHEST = 0.45  # tones above this part of the sample rate are left out: the device's own low-pass owns them
LOWEST_RATE = 8000  # Hz
LEAST_SETTLE = 2 * CLICK_SHOWN  # seconds: what is read of the click lies within the silence around it


class _Device:
    """The device with arrays at both ends, which counts what it is given."""

    def __init__(self, process: Process, sample_rate: int, channels: int, progress: Progress | None, calls: int):
        self.process, self.sample_rate, self.channels = process, sample_rate, channels
        self.progress, self.calls = progress, calls
        self.done, self.samples = 0, 0

    def __call__(self, signal: Array, channel: int | None = None) -> Array:
        """The answer (channels, time) to ``signal`` (time,) in all channels, or in one and silence in the others."""
        driven = np.zeros((self.channels, len(signal)))
        driven[slice(None) if channel is None else channel] = signal
        source = torch.from_numpy(driven).float()
        with torch.no_grad():
            answer = self.process(source)
        if not isinstance(answer, Tensor) or answer.shape != source.shape:
            shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise ValueError(f"process must return the shape that it is given, {tuple(source.shape)}, not {shape}")
        self.done, self.samples = self.done + 1, self.samples + len(signal)
        if self.progress is not None:
            self.progress(self.done, self.calls)
        return answer.detach().cpu().double().numpy()


def measure_tones(
    process: Process,
    sample_rate: int,
    channels: int = 2,
    progress: Progress | None = None,
    settle_seconds: float = 0.25,
) -> ToneResults:
    """Measures a device as an audio analyser would: distortion, response, impulse, crosstalk, noise; 75 s of audio.

    Args:
        process: the device, such as a codec's way to latents and back: (channels, time) to the same shape, float32,
            full scale 1.
        sample_rate: in Hz, at least 8000.
        channels: of the device. Crosstalk needs two.
        progress: called with the numbers of finished and of all calls of ``process``.
        settle_seconds: how much of a signal is left out of the reading at either end; at least the device's delay.

    Raises:
        ValueError: an argument is out of range, or ``process`` returns another shape.
    """
    if sample_rate < LOWEST_RATE:
        raise ValueError(f"sample_rate must be at least {LOWEST_RATE} Hz, not {sample_rate}")
    if channels < 1:
        raise ValueError(f"channels must be at least 1, not {channels}")
    if settle_seconds < LEAST_SETTLE:
        raise ValueError(f"settle_seconds must be at least {LEAST_SETTLE}, not {settle_seconds}")
    frequencies = _allowed(FREQUENCIES_HZ, sample_rate)
    crosstalk_hz = _allowed(CROSSTALK_HZ, sample_rate) if channels == 2 else []
    levels = {
        *((level, hz) for level in LEVELS_DBFS for hz in frequencies),
        *((level, STEP_HZ) for level in STEPS_DBFS),
    }
    device = _Device(process, sample_rate, channels, progress, calls=len(levels) + 2 * len(crosstalk_hz) + 3)
    settle = round(settle_seconds * sample_rate)

    readings: dict[tuple[float, int], list[ToneReading]] = {}
    spectra: dict[float, Array] = {}
    for level, hz in sorted(levels, reverse=True):
        answer = _steady(device, hz, level, settle)
        readings[level, hz] = [read_tone(channel, hz, sample_rate) for channel in answer]
        if hz == STEP_HZ:
            spectra[level] = np.stack([log_spectrum(channel, sample_rate) for channel in answer])
    crosstalk = np.array([[_crosstalk(device, hz, driven, settle) for hz in crosstalk_hz] for driven in (0, 1)])

    sweep = exponential_sweep(sample_rate, RESPONSE_DBFS, settle_seconds)
    swept = [read_sweep(channel, sweep) for channel in device(sweep.signal)]
    pulse = click(sample_rate, CLICK_DB, settle_seconds)
    clicked = [read_click(channel, pulse, sample_rate) for channel in device(pulse)]
    silence = device(np.zeros(round(SILENCE_SECONDS * sample_rate) + 2 * settle))[:, settle:-settle]
    noise = [read_noise(channel, sample_rate) for channel in silence]

    def table(name: str, levels: Iterable[float], tones: Iterable[int]) -> Array:
        """(channels, levels, tones)"""
        rows = [[gather(readings[level, hz], name) for hz in tones] for level in levels]
        return np.moveaxis(np.array(rows), -1, 0)

    inputs = np.array(LEVELS_DBFS)[:, None]
    half = len(clicked[0].response) // 2
    return ToneResults(
        sample_rate=sample_rate,
        channels=channels,
        signal_seconds=device.samples / sample_rate,
        settle_seconds=settle_seconds,
        frequencies_hz=np.array(frequencies, dtype=np.float64),
        levels_dbfs=np.array(LEVELS_DBFS),
        thd_n_db=table("thd_n_db", LEVELS_DBFS, frequencies),
        thd_db=table("thd_db", LEVELS_DBFS, frequencies),
        gain_db=table("level_dbfs", LEVELS_DBFS, frequencies) - inputs,
        steps_dbfs=np.array(STEPS_DBFS),
        step_thd_n_db=table("thd_n_db", STEPS_DBFS, [STEP_HZ])[..., 0],
        step_thd_db=table("thd_db", STEPS_DBFS, [STEP_HZ])[..., 0],
        step_gain_db=table("level_dbfs", STEPS_DBFS, [STEP_HZ])[..., 0] - np.array(STEPS_DBFS),
        dynamic_range_db=-gather(readings[-60.0, STEP_HZ], "residual_dbfs"),
        response_hz=response_frequencies(sample_rate),
        magnitude_db=gather(swept, "magnitude_db"),
        smoothed_db=gather(swept, "smoothed_db"),
        group_delay_samples=gather(swept, "group_delay_samples"),
        harmonic_orders=np.array(HARMONICS, dtype=np.float64),
        harmonics_db=gather(swept, "harmonics_db"),
        impulse_seconds=np.arange(round(KEPT[0] * sample_rate), round(KEPT[1] * sample_rate) + 1) / sample_rate,
        impulse_response=gather(swept, "impulse_response"),
        delay_samples=gather(swept, "delay_samples"),
        polarity=gather(swept, "polarity"),
        click_seconds=np.arange(-half, half + 1) / sample_rate,
        click_source=pulse[len(pulse) // 2 - half : len(pulse) // 2 + half + 1],
        click_response=gather(clicked, "response"),
        click_gain_db=gather(clicked, "gain_db"),
        click_delay_samples=gather(clicked, "delay_samples"),
        click_before_db=gather(clicked, "before_db"),
        click_after_db=gather(clicked, "after_db"),
        crosstalk_hz=np.array(crosstalk_hz, dtype=np.float64),
        crosstalk_db=crosstalk,
        noise_dbfs=gather(noise, "level_dbfs"),
        noise_peak_db=gather(noise, "peak_db"),
        noise_dc_db=gather(noise, "dc_db"),
        spectrum_hz=log_cells(sample_rate)[0],
        noise_spectrum_dbfs=np.stack([log_spectrum(channel, sample_rate) for channel in silence]),
        loud_spectrum_dbfs=spectra[-1.0],
        soft_spectrum_dbfs=spectra[-60.0],
    )


def gather(readings: Iterable[Any], name: str) -> Array:
    """One attribute of the readings of all channels, (channels, …)."""
    return np.array([getattr(reading, name) for reading in readings], dtype=np.float64)


def _allowed(frequencies: Iterable[int], sample_rate: int) -> list[int]:
    return [frequency for frequency in frequencies if frequency <= HIGHEST * sample_rate]


def _steady(device: _Device, frequency: int, level_dbfs: float, settle: int, channel: int | None = None) -> Array:
    """The settled part of the answer to a tone, (channels, time): a whole number of its periods."""
    length = coherent_length(frequency, device.sample_rate, TONE_SECONDS)
    source = tone(frequency, level_dbfs, device.sample_rate, length + 2 * settle)
    return device(source, channel)[:, settle : settle + length]


def _crosstalk(device: _Device, frequency: int, driven: int, settle: int) -> float:
    """Level of a tone in the silent channel of two against its level in the driven one, in dB."""
    answer = _steady(device, frequency, RESPONSE_DBFS, settle, driven)
    if not (measurable(answer[driven]) and np.isfinite(answer).all()):
        return float("nan")
    power = power_spectrum(answer)[:, frequency * answer.shape[-1] // device.sample_rate]
    return float(decibels(power[1 - driven] / power[driven])) if power[driven] > 0 else float("nan")
