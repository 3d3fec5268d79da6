"""Signal-to-error ratios and polarity of the waveform: what a delay, and some of them what a polarity flip, ruins."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from .clips import SILENCE_PEAK, is_silent, mean_over_pairs

SI_SDR_EPS = 1e-8
"""Guard of all three divisions and of the logarithm, as auraloss 0.4.0 has it: SI-SDR never falls below −80 dB."""


def si_sdr_db(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    r"""Scale-invariant signal-to-distortion ratio in dB; higher is better, identity is finite (above 100 dB).

    Per channel, after removing both means: α = ⟨ŷ, y⟩ / (‖y‖² + ε), SI-SDR = 10·log10(‖αy‖² / (‖ŷ − αy‖² + ε) + ε),
    ε = 1e-8; then the mean over channels. Deviates from auraloss ``SISDRLoss`` in one point: a channel whose target is
    silent (a hard-panned mix) has no defined value and is left out, where auraloss counts −80 dB.
    Blind to: gain and polarity.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips in dB; NaN if undefined (silent target, NaN or infinite samples).

    Raises:
        ValueError: shapes or types do not fit.

    Source: Le Roux et al. 2018, "SDR – half-baked or well done?"; auraloss 0.4.0, ``time.SISDRLoss``.

    >>> y = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    >>> error = torch.tensor([[0.1, 0.1, -0.1, -0.1]])  # orthogonal to y, a hundredth of its power
    >>> round(si_sdr_db(y + error, y), 3), round(si_sdr_db(-5 * (y + error), y), 3)
    (20.0, 20.0)
    """
    return mean_over_pairs(_si_sdr_db, preds, target, sample_rate)


def snr_db(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Signal-to-noise ratio 10·log10(Σ y² / Σ (y − ŷ)²) in dB over all channels and samples; higher is better.

    Sees gain, polarity and delay. Identity is ``inf``, and so is then the mean over a batch.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips in dB; NaN if undefined (silent target, NaN or infinite samples).

    Raises:
        ValueError: shapes or types do not fit.

    >>> y = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    >>> round(snr_db(0.9 * y, y), 3), round(snr_db(-y, y), 3), snr_db(y, y)
    (20.0, -6.021, inf)
    """
    return mean_over_pairs(_snr_db, preds, target, sample_rate)


def polarity_left(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Polarity of the left channel: its correlation with the target's, in [−1, 1]; identity is 1, a flip −1.

    ρ = Σ ŷ·y / √(Σ ŷ² · Σ y²), without delay and without removing means. The sign is the polarity, the size says how
    sure it is: a silent estimate has none and scores 0, and so, about, does a misaligned one.
    Blind to: gain.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1. A single channel is the left.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips; NaN if undefined (no such channel, silent in the target, NaN or infinite samples).

    Raises:
        ValueError: shapes or types do not fit.

    >>> y = torch.tensor([[1.0, -1.0, 1.0], [0.5, 0.5, -0.5]])
    >>> round(polarity_left(0.1 * y, y), 4), round(polarity_left(-y, y), 4)
    (1.0, -1.0)
    """
    return mean_over_pairs(partial(_polarity, channel=0), preds, target, sample_rate)


def polarity_right(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """As :func:`polarity_left`, of the right channel; NaN for mono.

    >>> y = torch.tensor([[1.0, -1.0, 1.0], [0.5, 0.5, -0.5]])
    >>> round(polarity_right(y * torch.tensor([[1.0], [-1.0]]), y), 4), polarity_right(y[:1], y[:1])
    (-1.0, nan)
    """
    return mean_over_pairs(partial(_polarity, channel=1), preds, target, sample_rate)


def _si_sdr_db(preds: Tensor, target: Tensor) -> float:
    preds = preds - preds.mean(-1, keepdim=True)
    target = target - target.mean(-1, keepdim=True)
    alpha = (preds * target).sum(-1) / (target.square().sum(-1) + SI_SDR_EPS)
    scaled = alpha[:, None] * target
    ratio = scaled.square().sum(-1) / ((preds - scaled).square().sum(-1) + SI_SDR_EPS)
    sounding = target.abs().amax(-1) > SILENCE_PEAK
    return (10 * torch.log10(ratio + SI_SDR_EPS))[sounding].mean().item()  # the mean of no channel is NaN


def _snr_db(preds: Tensor, target: Tensor) -> float:
    signal = target.square().sum().item()
    noise = (target - preds).square().sum().item()
    if noise == 0 or signal == 0:  # 0: squares below float32's range
        return math.inf if signal > 0 else math.nan
    return 10 * math.log10(signal / noise) if signal < math.inf and noise < math.inf else math.nan


def _polarity(preds: Tensor, target: Tensor, channel: int) -> float:
    if channel >= len(target) or is_silent(target[channel]):
        return math.nan
    p, t = preds[channel].double(), target[channel].double()
    energies = torch.dot(p, p).item() * torch.dot(t, t).item()
    return torch.dot(p, t).item() / math.sqrt(energies) if energies > 0 else 0.0
