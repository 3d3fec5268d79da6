"""Multi-resolution STFT and mel distances, A-weighted: auraloss 0.4.0 with the settings of the εar-VAE evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from auraloss.freq import MelSTFTLoss, MultiResolutionSTFTLoss, STFTLoss
from auraloss.perceptual import FIRFilter
from torch import Tensor

from .clips import mean_over_pairs
from .fir import fir_filter

# Settings of the release's evaluation (frozen: other sizes give figures that compare with nothing). Hop: a quarter.
STFT_SIZES = (4096, 2048, 1024, 512, 256, 128)
MEL_SIZES = (4096, 2048, 1024, 512)
N_MELS = 64


def stft_distance(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """A-weighted multi-resolution STFT distance (dimensionless); lower is better, identity is 0.

    Mean over windows 4096…128 (periodic Hann, hop a quarter) of ‖|Y| − |Ŷ|‖_F / ‖Y‖_F + mean |ln|Ŷ| − ln|Y||, with
    magnitudes floored at 1e-4 and channels pooled. ``MultiResolutionSTFTLoss`` of auraloss 0.4.0 with its default
    weights (spectral convergence 1, log magnitude 1); its result is not symmetric in its arguments.
    Blind to: phase, hence polarity and, nearly, short delays.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; places the A-weighting curve. Published figures are at 44100.

    Returns:
        Mean over clips; NaN if undefined (silent target, NaN or infinite samples, 2048 samples or fewer).

    Raises:
        ValueError: shapes or types do not fit.

    Source: Yamamoto et al. 2019; Steinmetz and Reiss 2020 (auraloss); εar-VAE evaluation settings.

    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(2, -1)
    >>> stft_distance(y, y), round(stft_distance(0.5 * y, y), 1)
    (0.0, 0.7)
    """
    distance = partial(_distance, losses=_stft_losses, sample_rate=sample_rate)
    return mean_over_pairs(distance, preds, target, sample_rate)


def mel_distance(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """A-weighted multi-resolution mel distance (dimensionless); lower is better, identity is 0.

    As :func:`stft_distance`, on magnitudes summed into 64 mel bands (Slaney), mean over windows 4096…512:
    ``MelSTFTLoss`` of auraloss 0.4.0, one per window. From 88.2 kHz on the smallest window leaves mel bands empty and
    the value is undefined: resample. Blind to: phase, hence polarity and, nearly, short delays.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; places the mel bands and the A-weighting curve. Published figures are at 44100.

    Returns:
        Mean over clips; NaN if undefined (silent target, NaN or infinite samples, 2048 samples or fewer).

    Raises:
        ValueError: shapes or types do not fit.

    Source: as :func:`stft_distance`.

    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(2, -1)
    >>> mel_distance(y, y), round(mel_distance(0.5 * y, y), 1)
    (0.0, 1.0)
    """
    distance = partial(_distance, losses=_mel_losses, sample_rate=sample_rate)
    return mean_over_pairs(distance, preds, target, sample_rate)


def _distance(
    preds: Tensor, target: Tensor, losses: Callable[[int, torch.device], list[STFTLoss]], sample_rate: int
) -> float:
    if target.shape[-1] <= max(STFT_SIZES) // 2:  # reflect padding needs more than half a window
        return math.nan
    # The losses' own perceptual_weighting runs this filter once per resolution: the same figure, far more slowly.
    taps = _a_weighting_taps(sample_rate, target.device)
    p, t = fir_filter(preds, taps)[None], fir_filter(target, taps)[None]
    values = [loss(p, t) for loss in losses(sample_rate, target.device)]
    return (sum(values) / len(values)).item()


@lru_cache(maxsize=16)
def _a_weighting_taps(sample_rate: int, device: torch.device) -> Tensor:
    """The 101 taps of auraloss' A-weighting filter, symmetric."""
    return FIRFilter("aw", fs=sample_rate).fir.weight.detach().flatten().to(device)


@lru_cache(maxsize=16)
def _stft_losses(sample_rate: int, device: torch.device) -> list[STFTLoss]:
    sizes = list(STFT_SIZES)
    loss = MultiResolutionSTFTLoss(sizes, [size // 4 for size in sizes], sizes, sample_rate=sample_rate)
    return list(loss.to(device).stft_losses)


@lru_cache(maxsize=16)
def _mel_losses(sample_rate: int, device: torch.device) -> list[STFTLoss]:
    return [MelSTFTLoss(sample_rate, size, size // 4, size, n_mels=N_MELS).to(device) for size in MEL_SIZES]
