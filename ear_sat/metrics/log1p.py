"""Multi-scale log1p distance: a log-magnitude distance that quiet bins leave gently instead of by a floor."""

from __future__ import annotations

import math

from torch import Tensor

from .clips import mean_over_pairs
from .frames import power, stft_blocks
from .spectral import STFT_SIZES

KNEE = 1e4
"""The constant a of log1p(a·|X|): above its knee 1/a, −80 dBFS, a bin counts by its level in dB, below it by its
amplitude. With full scale at 100 dB SPL the knee is a tone of 20 dB SPL, about what a quiet room's noise leaves audible
of it; the noise of 16-bit audio lies more than 40 dB lower in every bin."""


def log1p_distance(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Multi-scale log1p spectral distance (dimensionless, as nepers); lower is better, identity is 0.

    Mean over channels, bins, frames and windows 4096…128 (periodic Hann, hop a quarter, spectra scaled by 4/window, so
    that a sine reads its amplitude) of |ln(1 + a|Ŷ|) − ln(1 + a|Y|)|, a = 10⁴. No weighting. Where a logarithm asks
    for the ratio of two inaudible bins, this one fades out: a cut above 16 kHz costs what it removes, not its depth.
    Blind to: phase, hence polarity and, nearly, short delays. Sees a gain on both signals, which moves the knee.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips; NaN if undefined (silent target, NaN or infinite samples, 2048 samples or fewer).

    Raises:
        ValueError: shapes or types do not fit.

    >>> import torch
    >>> y = torch.randn(2, 8192, generator=torch.Generator().manual_seed(0))
    >>> log1p_distance(y, y), round(log1p_distance(0.5 * y, y), 2)  # loud bins: ln 2
    (0.0, 0.69)
    """
    return mean_over_pairs(_log1p_distance, preds, target, sample_rate)


def _log1p_distance(preds: Tensor, target: Tensor) -> float:
    if target.shape[-1] <= max(STFT_SIZES) // 2:  # reflect padding needs more than half a window
        return math.nan
    total = 0.0
    for size in STFT_SIZES:
        distance, count, scale = 0.0, 0, KNEE * 4 / size
        for pair in zip(stft_blocks(preds, size), stft_blocks(target, size), strict=True):
            p, t = (power(spectrum).sqrt().mul_(scale).add_(1) for spectrum in pair)
            distance += (p / t).log_().abs_().sum().item()
            count += t.numel()
        total += distance / count
    return total / len(STFT_SIZES) if total < math.inf else math.nan
