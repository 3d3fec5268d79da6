"""Phase coherence with the target (ICPC) and of the stereo image (CCPC), weighted by energy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .clips import mean_defined, mean_over_pairs

# Settings of the release's evaluation. The threshold applies to products of unscaled STFT magnitudes.
FFT_SIZES = (4096, 2048, 1024, 512)
MAGNITUDE_PRODUCT_THRESHOLD = 1e-6


def icpc(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Intra-channel phase coherence in [0, 1]; higher is better, identity is 1.

    Per channel, resolution and frame t, with the phase error Δφ = ∠Ŷ − ∠Y and the weight w = |Ŷ||Y| (bins with
    w ≤ 1e-6 dropped): coherence(t) = |Σ_f w·e^{jΔφ}| / Σ_f w. Frames are averaged by their energy E(t) = Σ_f w, then
    resolutions (windows 4096…512, periodic Hann, hop a quarter, no scaling), then channels.
    Blind to: gain, polarity, any constant phase shift of a frame.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips; NaN if undefined (no bin above the threshold, NaN or infinite samples, 2048 samples or fewer).
        A channel without any such bin is left out.

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
        Mean over clips; NaN if undefined (not two channels, no bin above the threshold, NaN or infinite samples, 2048
        samples or fewer).

    Raises:
        ValueError: shapes or types do not fit.

    Source: the evaluation of the εar-VAE release.

    >>> y = torch.randn(2, 16384, generator=torch.Generator().manual_seed(0))
    >>> round(ccpc(-0.5 * y, y), 4), ccpc(y.flip(0), y) < 0.2, ccpc(y[:1], y[:1])
    (1.0, True, nan)
    """
    return mean_over_pairs(_ccpc, preds, target, sample_rate)


def _icpc(preds: Tensor, target: Tensor) -> float:
    return mean_defined(
        mean_defined(_coherence(_stft(p, size) * _stft(t, size).conj()) for size in FFT_SIZES)
        for p, t in zip(preds, target, strict=True)
        if p.numel() > FFT_SIZES[0] // 2
    )


def _ccpc(preds: Tensor, target: Tensor) -> float:
    if preds.shape[0] != 2 or preds.shape[1] <= FFT_SIZES[0] // 2:
        return math.nan
    return mean_defined(
        # sgn keeps the target's phase and drops its magnitude; sgn(0) = 0 drops the bin.
        _coherence(_cross_spectrum(preds, size) * torch.sgn(_cross_spectrum(target, size)).conj())
        for size in FFT_SIZES
    )


def _coherence(phasors: Tensor) -> float:
    """Energy-weighted mean over frames of |Σ_f phasor| / Σ_f |phasor|; the frame's energy cancels its denominator.

    Args:
        phasors: w·e^{jΔφ}, complex (bins, frames).
    """
    weight = phasors.abs()
    kept = weight > MAGNITUDE_PRODUCT_THRESHOLD
    energy = torch.where(kept, weight, 0.0).sum().item()
    coherent = torch.where(kept, phasors, 0.0).sum(0).abs().sum().item()
    return coherent / energy if 0 < energy < math.inf else math.nan


def _cross_spectrum(stereo: Tensor, size: int) -> Tensor:
    """L·R* of a clip (2, time): complex (bins, frames)."""
    left, right = _stft(stereo, size)
    return left * right.conj()


def _stft(signal: Tensor, size: int) -> Tensor:
    """Unscaled STFT: centred, reflect padding, periodic Hann, hop a quarter; (..., time) -> (..., bins, frames)."""
    window = torch.hann_window(size, device=signal.device, dtype=signal.dtype)
    return torch.stft(signal, size, size // 4, window=window, return_complex=True)
