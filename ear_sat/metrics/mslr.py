"""K-weighted multi-resolution STFT distance of mid, side, left and right, one value each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from ..weighting import k_gain
from .clips import is_silent, mean_over_pairs
from .frames import power, stft_blocks
from .spectral import STFT_SIZES, magnitude_distance

FLOOR = 1e-5
"""Smallest magnitude, −100 dBFS at every window: the training loss' floor."""
QUIET_DB = -60.0
"""A component this far below left and right together has no distance of its own. Ours: without it the rounding of a
lossy file that is mono in all but name would read as a broken Side."""


def k_stft_distance_mid(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """K-weighted STFT distance of the mid M = (L + R)/2; lower is better, identity is 0.

    Mean over windows 4096…128 (periodic Hann, hop a quarter) of ‖|Y| − |Ŷ|‖_F / ‖Y‖_F + mean |ln|Ŷ| − ln|Y||, as
    :func:`~ear_sat.metrics.stft_distance`, with three differences: one component instead of pooled channels; each bin
    carries the exact magnitude response of the BS.1770 filters at its frequency and the clip's sample rate; spectra are
    scaled by 4/window, so that a sine reads its amplitude, and floored at −100 dBFS.
    Blind to: phase, hence polarity and, nearly, short delays.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1. A single channel is the mid.
        target: the reference, same shape.
        sample_rate: in Hz; places the K-weighting curve.

    Returns:
        Mean over clips; NaN if undefined: more than two channels, the target's component silent or 60 dB below left
        and right together, NaN or infinite samples, 2048 samples or fewer.

    Raises:
        ValueError: shapes or types do not fit.

    Source: ITU-R BS.1770-5; Steinmetz and Reiss 2020 (auraloss) for the distance.

    >>> y = torch.randn(2, 8192, generator=torch.Generator().manual_seed(0))
    >>> k_stft_distance_mid(y, y, 44100)
    0.0
    >>> round(k_stft_distance_mid(0.5 * y, y, 44100), 2)  # 1/2 + ln 2, but for the bin at 0 Hz
    1.19
    """
    return _mean_distance("mid", preds, target, sample_rate)


def k_stft_distance_side(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """As :func:`k_stft_distance_mid`, of the side S = (L − R)/2; NaN for mono and for a side that is silent.

    >>> y = torch.sin(torch.arange(8192) * 0.1)
    >>> k_stft_distance_side(y.expand(2, -1), y.expand(2, -1), 44100)
    nan
    """
    return _mean_distance("side", preds, target, sample_rate)


def k_stft_distance_left(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """As :func:`k_stft_distance_mid`, of the left channel; NaN for mono.

    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(2, -1)
    >>> k_stft_distance_left(y, y, 44100)
    0.0
    """
    return _mean_distance("left", preds, target, sample_rate)


def k_stft_distance_right(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """As :func:`k_stft_distance_mid`, of the right channel; NaN for mono.

    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(2, -1)
    >>> k_stft_distance_right(y, y, 44100)
    0.0
    """
    return _mean_distance("right", preds, target, sample_rate)


def _mean_distance(name: str, preds: Tensor, target: Tensor, sample_rate: int) -> float:
    return mean_over_pairs(partial(_distance, name, sample_rate), preds, target, sample_rate)


def _distance(name: str, sample_rate: int, preds: Tensor, target: Tensor) -> float:
    p, t = _component(name, preds), _component(name, target)
    if p is None or t is None or is_silent(t) or t.numel() <= max(STFT_SIZES) // 2:
        return math.nan
    if t.square().sum() < 10 ** (QUIET_DB / 10) * target.square().sum():
        return math.nan

    def blocks(size: int) -> Iterable[tuple[Tensor, Tensor]]:
        gain = _power_gain(size, sample_rate, t.device)
        for pair in zip(stft_blocks(p, size), stft_blocks(t, size), strict=True):
            preds, target = ((power(spectrum) * gain).clamp_min(FLOOR**2).sqrt() for spectrum in pair)
            yield preds, target

    return sum(magnitude_distance(blocks(size)) for size in STFT_SIZES) / len(STFT_SIZES)


def _component(name: str, clip: Tensor) -> Tensor | None:
    """(1, time) of a clip (channels, time); None if it has no such component."""
    if len(clip) == 1 and name == "mid":
        return clip
    if len(clip) != 2:
        return None
    left, right = clip[:1], clip[1:]
    return {"mid": (left + right) / 2, "side": (left - right) / 2, "left": left, "right": right}[name]


@lru_cache(maxsize=32)
def _power_gain(size: int, sample_rate: int, device: torch.device) -> Tensor:
    """Per bin, (bins,): the squared K-weighting gain and scale 4/window."""
    gain = k_gain(np.fft.rfftfreq(size, 1 / sample_rate), sample_rate) * 4 / size
    return torch.from_numpy(gain**2).float().to(device)
