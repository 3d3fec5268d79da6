"""Loudness by pyloudnorm, and loudness range from its short-term loudness."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from pyloudnorm import Meter
from torch import Tensor

from .clips import mean_over_clips, mean_over_pairs

GATING_BLOCK_SECONDS = 0.4  # BS.1770-4
# EBU Tech 3342: blocks of 3 s at 10 Hz, gates, percentiles.
SHORT_TERM_SECONDS, SHORT_TERM_STEP = 3.0, 0.1
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -20.0
PERCENTILES = (0.10, 0.95)
MAX_CHANNELS = 5  # L, R, C, Ls, Rs: the standard weights no others

# pyloudnorm's name for the filters whose coefficients at 48 kHz are those of BS.1770; its own default reads a 997 Hz
# sine 0.04 LU low. At other rates they are recomputed from the analogue prototype.
FILTERS = "DeMan"


def integrated_loudness_lufs(signal: Tensor, sample_rate: int = 44100) -> float:
    """Integrated, gated loudness in LUFS. A full-scale 997 Hz sine in one channel reads −3.01, in two 0.00.

    Args:
        signal: (channels, time) or (batch, channels, time), full scale 1; at most 5 channels: L, R, C, Ls, Rs.
        sample_rate: in Hz.

    Returns:
        Mean over clips in LUFS; NaN if undefined (silence, all blocks below the gate of −70 LUFS, shorter than 0.4 s,
        more than 5 channels, NaN or infinite samples).

    Raises:
        ValueError: shape or type does not fit.

    Source: ITU-R BS.1770-4, EBU R 128; pyloudnorm (Steinmetz and Reiss 2021).

    >>> import torch
    >>> sine = torch.sin(2 * torch.pi * 997 / 48000 * torch.arange(48000))
    >>> round(integrated_loudness_lufs(sine.expand(1, -1), 48000), 1)
    -3.0
    """
    return mean_over_clips(partial(_integrated_loudness, sample_rate=sample_rate), signal, sample_rate)


def loudness_range_lu(signal: Tensor, sample_rate: int = 44100) -> float:
    """Loudness range in LU: the spread (10th to 95th percentile) of the gated short-term loudness over blocks of 3 s.

    Whole blocks only, ten a second, as ffmpeg's meter counts them. pyloudnorm's own loudness range is not used: it
    steps by 0.09 s and appends 1.5 s of silence, whose fade reads as range, 2 LU more on a 6 s clip.

    Args:
        signal: (channels, time) or (batch, channels, time), full scale 1; at most 5 channels: L, R, C, Ls, Rs.
        sample_rate: in Hz.

    Returns:
        Mean over clips in LU; NaN if undefined (silence, all blocks below the gate of −70 LUFS, shorter than 3 s, more
        than 5 channels, NaN or infinite samples).

    Raises:
        ValueError: shape or type does not fit.

    Source: EBU Tech 3342; pyloudnorm for the short-term loudness.

    >>> import torch
    >>> sine = torch.sin(2 * torch.pi * 1000 / 8000 * torch.arange(160000))  # 20 s, first loud, then 10 dB softer
    >>> round(loudness_range_lu(torch.cat((0.1 * sine, 0.0316 * sine)).expand(2, -1), 8000), 1)
    10.0
    """
    return mean_over_clips(partial(_loudness_range, sample_rate=sample_rate), signal, sample_rate)


def loudness_diff_lu(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
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
    >>> round(loudness_diff_lu(0.5 * y, y), 2)
    6.02
    """
    return _mean_difference(_integrated_loudness, preds, target, sample_rate)


def loudness_range_diff_lu(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
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
    >>> round(loudness_range_diff_lu(0.5 * y, y), 2)  # a gain changes no range
    0.0
    """
    return _mean_difference(_loudness_range, preds, target, sample_rate)


def _mean_difference(measure: Callable[[Tensor, int], float], preds: Tensor, target: Tensor, sample_rate: int) -> float:
    def difference(preds: Tensor, target: Tensor) -> float:
        return abs(measure(preds, sample_rate) - measure(target, sample_rate))

    return mean_over_pairs(difference, preds, target, sample_rate)


def _integrated_loudness(clip: Tensor, sample_rate: int) -> float:
    return _read(Meter(sample_rate, filter_class=FILTERS, block_size=GATING_BLOCK_SECONDS), clip)[0]


def _loudness_range(clip: Tensor, sample_rate: int) -> float:
    overlap = 1 - SHORT_TERM_STEP / SHORT_TERM_SECONDS
    meter = Meter(sample_rate, filter_class=FILTERS, block_size=SHORT_TERM_SECONDS, overlap=overlap)
    seconds = clip.shape[1] / sample_rate
    whole = math.floor((seconds - SHORT_TERM_SECONDS) / SHORT_TERM_STEP + 1e-6) + 1  # pyloudnorm rounds to the nearest
    blocks = np.array(_read(meter, clip)[1])[: max(0, whole)]
    blocks = blocks[blocks >= ABSOLUTE_GATE_LUFS]
    if not len(blocks) or not np.isfinite(blocks).all():
        return math.nan
    mean_loudness = 10 * math.log10(np.mean(10 ** (blocks / 10)))
    blocks = blocks[blocks >= mean_loudness + RELATIVE_GATE_LU]
    # The block of rank p·n, as ffmpeg counts; (n − 1)·p + 1 in the standard's example, one block more at the low end.
    low, high = (np.sort(blocks)[max(1, int(p * len(blocks) + 0.5)) - 1] for p in PERCENTILES)
    return float(high - low)


def _read(meter: Meter, clip: Tensor) -> tuple[float, list[float]]:
    """Integrated loudness in LUFS, NaN if undefined, and the loudness of every block."""
    channels, length = clip.shape
    if not 1 <= channels <= MAX_CHANNELS or length < meter.block_size * meter.rate:
        return math.nan, []
    # Silence is −inf per block, and pyloudnorm takes means of no block on the way to it; a wrong file may overflow.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = float(meter.integrated_loudness(clip.double().cpu().numpy().T))
    return value if math.isfinite(value) else math.nan, meter.blockwise_loudness
