"""ViSQOL in audio mode, by the package visqol-python: the opinion of listeners, predicted."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UserError
from ..resampling import resampler
from .clips import is_silent, mean_over_pairs

if TYPE_CHECKING:
    from visqol.api import VisqolApi

RATE = 48000
"""Hz; the rate at which ViSQOL's audio mode was trained. The package takes other rates as they are, and misjudges."""

LEAST_SECONDS = 1.0
"""The package's patches want 0.95 s."""

WORST = 1.0
"""Of the scale of opinions: what a silent estimate of a sounding target counts."""

_resampler = lru_cache(maxsize=4)(resampler)


def visqol_mos(preds: Tensor, target: Tensor, sample_rate: int) -> float:
    """MOS-LQO of ViSQOL v3 in audio mode, 1 bad … 4.73 identical; higher is better.

    Left and right are averaged before, as the package's command and Google's do; other rates than 48 kHz are resampled
    (torchaudio's defaults). Google advises clips of 5 to 10 s. It costs about 10 s per minute of audio.
    Blind to: the side (what has opposite signs in left and right), level, polarity, and constant delays.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz.

    Returns:
        Mean over clips; NaN if undefined (less than a second, a silent mean of the target's channels, NaN or
        infinite samples). A silent estimate counts as 1.

    Raises:
        UserError: visqol-python is not installed.
        ValueError: shapes or types do not fit.

    Source: Chinen et al. 2020, "ViSQOL v3: An Open Source Production Ready Objective Speech and Audio Metric".
    """
    api = _api()
    return mean_over_pairs(lambda p, t: _mos(api, p, t, sample_rate), preds, target, sample_rate)


@lru_cache(maxsize=1)
def _api() -> VisqolApi:
    try:
        from visqol.api import VisqolApi
    except ImportError:
        raise UserError("ViSQOL needs the package visqol-python; run: pip install 'ear-sat[visqol]'") from None
    api = VisqolApi()
    api.create(mode="audio")
    return api


def require_visqol() -> None:
    """Raises UserError if visqol-python is missing, before hours of work."""
    _api()


def _mos(api: VisqolApi, preds: Tensor, target: Tensor, sample_rate: int) -> float:
    if target.shape[-1] < LEAST_SECONDS * sample_rate:
        return math.nan
    preds, target = (signal.cpu().mean(0, dtype=torch.float64) for signal in (preds, target))
    if is_silent(target):
        return math.nan
    if is_silent(preds):  # the package divides by its level
        return WORST
    if sample_rate != RATE:
        preds, target = (_resampler(sample_rate, RATE)(signal.float()) for signal in (preds, target))
    _share_threads()
    return float(api.measure_from_arrays(target.double().numpy(), preds.double().numpy(), RATE).moslqo)


def _share_threads() -> None:
    """The package computes by numba where that is there, which otherwise takes all cores in every process."""
    try:
        import numba
    except ImportError:
        return
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    numba.set_num_threads(max(1, min(torch.get_num_threads(), most)))
