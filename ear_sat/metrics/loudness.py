"""Integrated loudness and loudness range, of whole signals; :mod:`.loudness_meter` measures them block by block."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor

from .clips import mean_over_clips, mean_over_pairs
from .loudness_meter import MAX_CHANNELS, LoudnessMeter

BLOCK = 1 << 16
"""Samples filtered at a time: what fits into the processor's cache."""


def integrated_loudness_lufs(signal: Tensor, sample_rate: int) -> float:
    """Integrated, gated loudness in LUFS. A full-scale 997 Hz sine in one channel reads −3.01, in two 0.00.

    Args:
        signal: (channels, time) or (batch, channels, time), full scale 1; at most 5 channels: L, R, C, Ls, Rs.
        sample_rate: in Hz.

    Returns:
        Mean over clips in LUFS; NaN if undefined (silence, all blocks below the gate of −70 LUFS, shorter than 0.4 s,
        more than 5 channels, NaN or infinite samples).

    Raises:
        ValueError: shape or type does not fit.

    Source: ITU-R BS.1770-4, EBU R 128.

    >>> import torch
    >>> sine = torch.sin(2 * torch.pi * 997 / 48000 * torch.arange(48000))
    >>> round(integrated_loudness_lufs(sine.expand(1, -1), 48000), 1)
    -3.0
    """
    return mean_over_clips(partial(_integrated_loudness, sample_rate=sample_rate), signal, sample_rate)


def loudness_range_lu(signal: Tensor, sample_rate: int) -> float:
    """Loudness range in LU: the spread (10th to 95th percentile) of the gated short-term loudness over blocks of 3 s.

    Whole blocks only, ten a second, as ffmpeg's meter counts them.

    Args:
        signal: (channels, time) or (batch, channels, time), full scale 1; at most 5 channels: L, R, C, Ls, Rs.
        sample_rate: in Hz.

    Returns:
        Mean over clips in LU; NaN if undefined (silence, all blocks below the gate of −70 LUFS, shorter than 3 s, more
        than 5 channels, NaN or infinite samples).

    Raises:
        ValueError: shape or type does not fit.

    Source: EBU Tech 3342.

    >>> import torch
    >>> sine = torch.sin(2 * torch.pi * 1000 / 8000 * torch.arange(160000))  # 20 s, first loud, then 10 dB softer
    >>> round(loudness_range_lu(torch.cat((0.1 * sine, 0.0316 * sine)).expand(2, -1), 8000), 1)
    10.0
    """
    return mean_over_clips(partial(_loudness_range, sample_rate=sample_rate), signal, sample_rate)


def loudness_diff_lu(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """|integrated loudness of the estimate − that of the target| in LU; lower is better, identity is 0.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz.

    Returns:
        Mean over clips in LU; NaN where :func:`integrated_loudness_lufs` of either is undefined.

    Raises:
        ValueError: shapes or types do not fit.

    >>> import torch
    >>> y = torch.sin(torch.arange(44100) * 0.1).expand(2, -1)
    >>> round(loudness_diff_lu(0.5 * y, y, 44100), 2)
    6.02
    """
    return _mean_difference(_integrated_loudness, preds, target, sample_rate)


def loudness_range_diff_lu(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """|loudness range of the estimate − that of the target| in LU; lower is better, identity is 0.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz.

    Returns:
        Mean over clips in LU; NaN where :func:`loudness_range_lu` of either is undefined.

    Raises:
        ValueError: shapes or types do not fit.

    >>> import torch
    >>> y = torch.sin(torch.arange(4 * 44100) * 0.1).expand(2, -1)
    >>> round(loudness_range_diff_lu(0.5 * y, y, 44100), 2)  # a gain changes no range
    0.0
    """
    return _mean_difference(_loudness_range, preds, target, sample_rate)


def _mean_difference(measure: Callable[[Tensor, int], float], preds: Tensor, target: Tensor, sample_rate: int) -> float:
    def difference(preds: Tensor, target: Tensor) -> float:
        return abs(measure(preds, sample_rate) - measure(target, sample_rate))

    return mean_over_pairs(difference, preds, target, sample_rate)


def _integrated_loudness(clip: Tensor, sample_rate: int) -> float:
    return _measured(clip, sample_rate).integrated_lufs if 1 <= len(clip) <= MAX_CHANNELS else math.nan


def _loudness_range(clip: Tensor, sample_rate: int) -> float:
    return _measured(clip, sample_rate).range_lu if 1 <= len(clip) <= MAX_CHANNELS else math.nan


def _measured(clip: Tensor, sample_rate: int) -> LoudnessMeter:
    meter = LoudnessMeter(sample_rate, len(clip))
    for block in clip.split(BLOCK, dim=-1):
        meter.feed(block)
    return meter
