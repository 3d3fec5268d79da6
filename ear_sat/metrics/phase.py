"""Phase coherence with the target (ICPC) and of the stereo image (CCPC), weighted by energy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from .clips import mean_defined, mean_over_pairs
from .frames import stft_blocks

# Settings of the release's evaluation. The threshold applies to products of unscaled STFT magnitudes.
FFT_SIZES = (4096, 2048, 1024, 512)
MAGNITUDE_PRODUCT_THRESHOLD = 1e-6


def icpc(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Intra-channel phase coherence in [0, 1]; higher is better, identity is 1.

    Per channel, resolution and frame t, with the phase error Δφ = ∠Ŷ − ∠Y and the weight w = |Ŷ||Y| (bins with
    w ≤ 1e-6 dropped): coherence(t) = |Σ_f w·e^{jΔφ}| / Σ_f w. Frames are averaged by their energy E(t) = Σ_f w, then
    resolutions (windows 4096…512, periodic Hann, hop a quarter, no scaling), then channels. A resolution without a bin
    above the threshold, as short windows of a quiet clip have none, counts 0.
    Blind to: gain, polarity, any constant phase shift of a frame.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips; NaN if undefined (no bin above the threshold in any resolution, NaN or infinite samples, 2048
        samples or fewer). A channel without any such bin is left out.

    Raises:
        ValueError: shapes or types do not fit.

    Source: the evaluation of the εar-VAE release.

    >>> noise = torch.randn(2, 2, 16384, generator=torch.Generator().manual_seed(0))
    >>> round(icpc(-noise[0], noise[0]), 4), icpc(noise[0], noise[1]) < 0.1
    (1.0, True)
    """
    return mean_over_pairs(_icpc, preds, target, sample_rate)


def ccpc(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Cross-channel phase coherence in [0, 1]: does the stereo image keep its phase? Higher is better, identity is 1.

    As :func:`icpc`, with Δφ the error of the inter-channel phase difference, ∠(L̂·R̂*) − ∠(L·R*), and the weight
    w = |L̂||R̂|, of the estimate alone. Bins where the target's L·R* is exactly 0 have no phase and are dropped.
    Blind to: gain and polarity of both channels; panned mono with L and R swapped scores 1 (its phase difference is 0
    either way).

    Args:
        preds: the estimate, (2, time) or (batch, 2, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips; NaN if undefined (not two channels, no bin above the threshold in any resolution, NaN or
        infinite samples, 2048 samples or fewer).

    Raises:
        ValueError: shapes or types do not fit.

    Source: the evaluation of the εar-VAE release.

    >>> y = torch.randn(2, 16384, generator=torch.Generator().manual_seed(0))
    >>> round(ccpc(-0.5 * y, y), 4), ccpc(y.flip(0), y) < 0.2, ccpc(y[:1], y[:1])
    (1.0, True, nan)
    """
    return mean_over_pairs(_ccpc, preds, target, sample_rate)


def _icpc(preds: Tensor, target: Tensor) -> float:
    if preds.shape[1] <= FFT_SIZES[0] // 2:  # reflect padding needs more than half a window
        return math.nan
    by_size = [
        _coherence(p * t.conj() for p, t in zip(stft_blocks(preds, size), stft_blocks(target, size), strict=True))
        for size in FFT_SIZES
    ]
    return mean_defined(_over_resolutions(channel) for channel in zip(*by_size, strict=True))


def _ccpc(preds: Tensor, target: Tensor) -> float:
    if preds.shape[0] != 2 or preds.shape[1] <= FFT_SIZES[0] // 2:
        return math.nan
    return _over_resolutions(
        # sgn keeps the target's phase and drops its magnitude; sgn(0) = 0 drops the bin.
        _coherence(
            _cross_spectrum(p) * torch.sgn(_cross_spectrum(t)).conj()
            for p, t in zip(stft_blocks(preds, size), stft_blocks(target, size), strict=True)
        )[0]
        for size in FFT_SIZES
    )


def _over_resolutions(values: Iterable[float | None]) -> float:
    """Mean; a resolution without a bin (None) counts 0, as in the release, but NaN if none has one.

    >>> _over_resolutions([1.0, 0.5, None]), _over_resolutions([None, None])
    (0.5, nan)
    """
    values = list(values)
    if all(value is None for value in values):
        return math.nan
    return sum(value or 0.0 for value in values) / len(values)


def _coherence(blocks: Iterable[Tensor]) -> list[float | None]:
    """Energy-weighted mean over frames of |Σ_f phasor| / Σ_f |phasor|; the frame's energy cancels its denominator.

    Args:
        blocks: the phasors w·e^{jΔφ}, complex (channels, frames, bins), block by block.

    Returns:
        One value per channel, None for a channel without a bin above the threshold.
    """
    energy, coherent = torch.zeros(()), torch.zeros(())
    for phasors in blocks:
        weight = phasors.abs()
        kept = weight > MAGNITUDE_PRODUCT_THRESHOLD
        energy = energy + torch.where(kept, weight, 0.0).sum((1, 2)).double().cpu()
        coherent = coherent + torch.where(kept, phasors, 0.0).sum(2).abs().sum(1).double().cpu()
    pairs = zip(coherent.tolist(), energy.tolist(), strict=True)
    return [None if e == 0 else c / e if e < math.inf else math.nan for c, e in pairs]


def _cross_spectrum(stereo: Tensor) -> Tensor:
    """L·R* of a spectrum (2, frames, bins): complex (1, frames, bins)."""
    return stereo[:1] * stereo[1:].conj()
