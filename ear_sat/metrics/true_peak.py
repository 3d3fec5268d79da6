"""True peak: the level of the waveform between its samples, which clips in a converter or a lossy decoder."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor

from .clips import is_silent, mean_over_clips, mean_over_pairs
from .true_peak_meter import TruePeakMeter

BLOCK = 1 << 16
"""Samples oversampled at a time: what fits into the processor's cache."""


def true_peak_dbtp(signal: Tensor, sample_rate: int) -> float:
    """True peak in dBTP (dB relative to full scale 1), the loudest channel's.

    Peak magnitude after oversampling to 176.4 kHz at least (4 times at 44.1 and 48 kHz, 2 times at 88.2 and 96 kHz),
    with the taps of SciPy's ``resample_poly`` (81 at 4 times; the standard's example has 48). Excerpts begin and end
    in sound: silence around them would overshoot by decibels that nobody hears in the music. So the signal is mirrored
    at its beginning, and its last 15 samples, after which nothing is known, only serve as surroundings, as in ffmpeg's
    ``ebur128``: a click there does not count.

    Args:
        signal: (channels, time) or (batch, channels, time), full scale 1.
        sample_rate: in Hz.

    Returns:
        Mean over clips in dBTP; NaN if undefined (silence, NaN or infinite samples, 15 samples or fewer at rates below
        176.4 kHz, silence but for the last 15).

    Raises:
        ValueError: shape or type does not fit.

    Source: ITU-R BS.1770-4, Annex 2.

    >>> import torch
    >>> between = torch.sin(torch.pi / 2 * torch.arange(4000) + torch.pi / 4)  # every sample reads ±0.707
    >>> between *= torch.hann_window(4000)  # a tone so high would overshoot even mirrored
    >>> round(20 * torch.log10(between.abs().max()).item(), 2), round(true_peak_dbtp(between[None], 44100), 1)
    (-3.01, 0.0)
    """
    return mean_over_clips(partial(_true_peak_dbtp, sample_rate=sample_rate), signal, sample_rate)


def true_peak_diff_db(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """|true peak of the estimate − true peak of the target| in dB; lower is better, identity is 0.

    Each true peak is its loudest channel's, see :func:`true_peak_dbtp`.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz.

    Returns:
        Mean over clips in dB; NaN if undefined (either's true peak is).

    Raises:
        ValueError: shapes or types do not fit.

    >>> import torch
    >>> y = torch.sin(torch.arange(4000) * 0.1).expand(2, -1)
    >>> round(true_peak_diff_db(0.5 * y, y, 44100), 2), round(true_peak_diff_db(2 * y, y, 44100), 2)
    (6.02, 6.02)
    """

    def difference(preds: Tensor, target: Tensor) -> float:
        return abs(_true_peak_dbtp(preds, sample_rate) - _true_peak_dbtp(target, sample_rate))

    return mean_over_pairs(difference, preds, target, sample_rate)


def _true_peak_dbtp(clip: Tensor, sample_rate: int) -> float:
    if is_silent(clip):
        return math.nan
    meter = TruePeakMeter(sample_rate)
    for block in clip.split(BLOCK, dim=-1):
        meter.feed(block)
    return meter.dbtp if math.isfinite(meter.dbtp) else math.nan
