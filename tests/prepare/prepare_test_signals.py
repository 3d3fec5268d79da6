"""Signals whose loudness and peaks are known by calculation, as float64 (frames, channels)."""

from __future__ import annotations

import numpy as np

#: BS.1770: a 997 Hz sine of 0 dBFS in one channel reads −3.01 LUFS, so one in two channels reads its own level.
SINE_HZ = 997.0


def sine(level_dbfs: float, seconds: float, rate: int, frequency: float = SINE_HZ, degrees: float = 0.0) -> np.ndarray:
    """One channel, (frames,), peak ``level_dbfs``."""
    time = np.arange(round(seconds * rate)) / rate
    return 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * frequency * time + np.deg2rad(degrees))


def stereo(left: np.ndarray, right: np.ndarray | None = None) -> np.ndarray:
    """Two channels, (frames, 2); without ``right`` twice the left one."""
    return np.stack((left, left if right is None else right), axis=1)


def tone(lufs: float, seconds: float = 4.0, rate: int = 44100, channels: int = 2) -> np.ndarray:
    """A tone of known loudness, faded over 5 ms: an abrupt end peaks between samples.

    Its two channels are 60 degrees apart, so it is no dual mono; 5.1 has it in L and R.
    """
    level = lufs + (3.0103 if channels == 1 else 0.0)
    left, right = (sine(level, seconds, rate, degrees=degrees) for degrees in (0, 60))
    places = np.arange(len(left))
    fade = np.minimum(1, np.minimum(places, places[::-1]) / (0.005 * rate))
    left, right = left * fade, right * fade
    if channels == 1:
        return left[:, None]
    silence = np.zeros_like(left)
    return np.stack((left, right, *[silence] * (channels - 2)), axis=1)


def with_inter_sample_peak(signal: np.ndarray, rate: int, peak_dbtp: float) -> np.ndarray:
    """``signal`` with 50 ms in the middle where a tone at fs/4 peaks halfway between samples, which stay 3 dB below."""
    length = rate // 20
    burst = sine(peak_dbtp, length / rate, rate, frequency=rate / 4, degrees=45) * np.hanning(length)
    first = (len(signal) - length) // 2
    mixed = signal.copy()
    mixed[first : first + length, :2] = burst[:, None] * np.array([1.0, 0.5])
    return mixed


def noise(seconds: float, rate: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """Independent white noise in two channels, standard deviation ``level``."""
    return level * np.random.default_rng(seed).standard_normal((round(seconds * rate), 2))
