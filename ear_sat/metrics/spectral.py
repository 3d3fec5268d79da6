"""Multi-resolution STFT and mel distances, A-weighted: auraloss 0.4.0 with the settings of the εar-VAE evaluation.

The arithmetic is auraloss', on our own STFT: its module also takes the angle of every bin, which no distance here uses,
and holds all spectra at once, at several times the time and memory. Filter taps and mel bands are still auraloss'. The
tests hold the results against its modules: equal to 1e-7 in double precision; in float32 its norms of ten million bins
are themselves off by up to 4e-5.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache

import torch
from auraloss.freq import MelSTFTLoss
from auraloss.perceptual import FIRFilter
from torch import Tensor

from ..caches import ensure_caches
from .clips import mean_over_pairs
from .fir import fir_filter
from .frames import power, stft_blocks

# Settings of the release's evaluation (frozen: other sizes give figures that compare with nothing). Hop: a quarter.
STFT_SIZES = (4096, 2048, 1024, 512, 256, 128)
MEL_SIZES = (4096, 2048, 1024, 512)
N_MELS = 64
POWER_FLOOR = 1e-8
"""Smallest |X|² of the unscaled STFT: ``eps`` of auraloss."""


def stft_distance(preds: Tensor, target: Tensor, sample_rate: int) -> float:
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
    >>> stft_distance(y, y, 44100), round(stft_distance(0.5 * y, y, 44100), 1)
    (0.0, 0.7)
    """

    def distance(preds: Tensor, target: Tensor) -> float:
        return _a_weighted_distance(preds, target, sample_rate, STFT_SIZES, lambda size: lambda magnitude: magnitude)

    return mean_over_pairs(distance, preds, target, sample_rate)


def mel_distance(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """A-weighted multi-resolution mel distance (dimensionless); lower is better, identity is 0.

    As :func:`stft_distance`, on magnitudes summed into 64 mel bands (Slaney), mean over windows 4096…512:
    ``MelSTFTLoss`` of auraloss 0.4.0, one per window. From 88.2 kHz on the lowest bands are narrower than the bins of
    the smallest window; some hold no bin, and the definition, which takes their logarithm, has no value: resample.
    Blind to: phase, hence polarity and, nearly, short delays.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; places the mel bands and the A-weighting curve. Published figures are at 44100.

    Returns:
        Mean over clips; NaN if undefined (silent target, NaN or infinite samples, 2048 samples or fewer, a mel band
        without a bin).

    Raises:
        ValueError: shapes or types do not fit.

    Source: as :func:`stft_distance`.

    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(2, -1)
    >>> mel_distance(y, y, 44100), round(mel_distance(0.5 * y, y, 44100), 1)
    (0.0, 1.0)
    """

    def to_bands(size: int) -> Callable[[Tensor], Tensor]:
        bands = _mel_bands(size, sample_rate, target.device)
        return lambda magnitude: magnitude @ bands

    def distance(preds: Tensor, target: Tensor) -> float:
        return _a_weighted_distance(preds, target, sample_rate, MEL_SIZES, to_bands)

    return mean_over_pairs(distance, preds, target, sample_rate)


def magnitude_distance(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """‖|Y| − |Ŷ|‖_F / ‖Y‖_F + mean |ln|Ŷ| − ln|Y||: spectral convergence and log-magnitude distance of one resolution.

    Args:
        blocks: magnitudes of estimate and target, block by block, shapes alike and all above 0.

    Returns:
        Their sum; NaN if a magnitude is 0, or overflows.

    >>> round(magnitude_distance([(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))]), 3)  # 1/2 + ln 2
    1.193
    """
    error = reference = ratio = 0.0
    count = 0
    for preds, target in blocks:
        error += (target - preds).square().sum().item()
        reference += target.square().sum().item()
        ratio += (preds / target).log().abs().sum().item()
        count += target.numel()
    if not (0 < reference < math.inf and error < math.inf):
        return math.nan
    return math.sqrt(error / reference) + ratio / count


def _a_weighted_distance(
    preds: Tensor,
    target: Tensor,
    sample_rate: int,
    sizes: tuple[int, ...],
    features: Callable[[int], Callable[[Tensor], Tensor]],
) -> float:
    """Mean over ``sizes`` of :func:`magnitude_distance`, ``features(size)`` applied to the magnitudes."""
    if target.shape[-1] <= max(STFT_SIZES) // 2:  # reflect padding needs more than half a window
        return math.nan
    taps = _a_weighting_taps(sample_rate, target.device)
    preds, target = fir_filter(preds, taps), fir_filter(target, taps)

    def blocks(size: int) -> Iterable[tuple[Tensor, Tensor]]:
        feature = features(size)
        for pair in zip(stft_blocks(preds, size), stft_blocks(target, size), strict=True):
            p, t = (feature(power(spectrum).clamp_min(POWER_FLOOR).sqrt()) for spectrum in pair)
            yield p, t

    return sum(magnitude_distance(blocks(size)) for size in sizes) / len(sizes)


@lru_cache(maxsize=16)
def _a_weighting_taps(sample_rate: int, device: torch.device) -> Tensor:
    """The 101 taps of auraloss' A-weighting filter, symmetric."""
    return FIRFilter("aw", fs=sample_rate).fir.weight.detach().flatten().to(device)


@lru_cache(maxsize=16)
def _mel_bands(size: int, sample_rate: int, device: torch.device) -> Tensor:
    """auraloss' mel filter bank, (bins, bands)."""
    ensure_caches()  # it imports librosa, and numba with that
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters")  # the metric is NaN then, which says the same
        return MelSTFTLoss(sample_rate, size, size // 4, size, n_mels=N_MELS).fb[0].T.to(device)
