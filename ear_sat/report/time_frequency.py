"""What spectrogram pictures share: the transform, and an axis linear below 200 Hz and logarithmic above."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

N_FFT = 2048
MAX_FRAMES = 800  # columns of a spectrogram: about what its panel has in pixels
ROWS = 300
WARP_HZ = 200.0  # the frequency axis is linear below and logarithmic above
FREQUENCY_TICKS = (0, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def spectrum(waveform: torch.Tensor) -> torch.Tensor:
    """Complex spectrum (channels, 1025, frames) of (channels, time); a bin-centred full-scale sine has magnitude 1."""
    waveform = waveform.detach().to("cpu", torch.float32)
    waveform = torch.nn.functional.pad(waveform, (N_FFT // 2, N_FFT // 2 + max(0, N_FFT - waveform.shape[1])))
    window = torch.hann_window(N_FFT)
    bins = torch.stft(waveform, N_FFT, N_FFT // 4, window=window, center=False, return_complex=True)
    return bins * (2 / window.sum())


def levels(
    waveform: torch.Tensor, sample_rate: int, rows: int = ROWS, max_frames: int = MAX_FRAMES
) -> np.ndarray[Any, Any]:
    """Levels in dBFS, (channels, pixel rows from low to high, frames); NaN where the waveform is not finite."""
    power = spectrum(waveform).abs().square()
    power = torch.nn.functional.adaptive_avg_pool1d(power, min(max_frames, power.shape[-1]))
    # The loudest bin of each pixel row, or the nearest one where rows are narrower: a sine keeps its level everywhere.
    loudest = np.maximum.reduceat(power.double().numpy(), first_bins(sample_rate, rows), axis=1)
    return 10 * np.log10(np.maximum(loudest, 1e-12))


def first_bins(sample_rate: int, rows: int = ROWS) -> np.ndarray[Any, Any]:
    """The first bin of each pixel row, from low to high, (rows,)."""
    edges = unwarp(np.linspace(0, warp(sample_rate / 2), rows + 1)[:-1]) / (sample_rate / N_FFT)
    return np.minimum((edges + 0.5).astype(int), N_FFT // 2)


def warp(hz: Any) -> Any:
    """Position on the frequency axis, from 0 up."""
    return np.log1p(np.asarray(hz) / WARP_HZ)


def unwarp(warped: Any) -> Any:
    """Frequency in Hz of a position on the axis."""
    return np.expm1(warped) * WARP_HZ


def frequency_ticks(sample_rate: int) -> list[tuple[float, str]]:
    """Position from 0 (bottom) to 1 (half the sample rate), and label in Hz.

    >>> frequency_ticks(1000)
    [(0.0, '0'), (0.323..., '100'), (0.553..., '200'), (1.0, '500')]
    """
    return [
        (float(warp(hz) / warp(sample_rate / 2)), f"{hz // 1000}k" if hz >= 1000 else str(hz))
        for hz in FREQUENCY_TICKS
        if hz <= sample_rate / 2
    ]
