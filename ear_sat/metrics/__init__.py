"""Metrics of audio reconstruction: pure functions ``metric(preds, target, sample_rate) -> float``.

A function's name is its name everywhere: in tables, in JSON files, on log axes. Pair metrics are listed in
:data:`METRICS`; ``true_peak_dbtp``, ``integrated_loudness_lufs`` and ``loudness_range_lu`` measure one signal.
Waveforms are float tensors (channels, time) or (batch, channels, time); a batch gives the mean over its clips. What is
undefined is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from ..config import check_choice
from .loudness import integrated_loudness_lufs, loudness_diff_lu, loudness_range_diff_lu, loudness_range_lu
from .phase import ccpc, icpc
from .spectral import mel_distance, stft_distance
from .true_peak import true_peak_dbtp, true_peak_diff_db
from .waveform import si_sdr_db, snr_db

METRICS: dict[str, Callable[[Tensor, Tensor, int], float]] = {
    metric.__name__: metric
    for metric in (
        si_sdr_db,
        snr_db,
        stft_distance,
        mel_distance,
        icpc,
        ccpc,
        true_peak_diff_db,
        loudness_diff_lu,
        loudness_range_diff_lu,
    )
}
"""Pair metrics by name, in the order of tables."""

HIGHER_IS_BETTER: frozenset[str] = frozenset({"si_sdr_db", "snr_db", "icpc", "ccpc"})
"""The metrics of which more is better; of the others, less is."""


def evaluate_pair(
    preds: Tensor, target: Tensor, sample_rate: int = 44100, names: Iterable[str] | None = None
) -> dict[str, float]:
    """Computes several pair metrics.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz.
        names: keys of :data:`METRICS`, default all of them.

    Returns:
        Name -> value in the order of ``names``; NaN where undefined.

    Raises:
        UserError: an unknown name; the message names the close match.
        ValueError: shapes or types do not fit.

    >>> import torch
    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(2, -1)
    >>> evaluate_pair(y, y, names=["snr_db", "stft_distance", "loudness_range_diff_lu"])
    {'snr_db': inf, 'stft_distance': 0.0, 'loudness_range_diff_lu': nan}
    """
    chosen = [check_choice("metric", name, METRICS) for name in (METRICS if names is None else names)]
    return {name: METRICS[name](preds, target, sample_rate) for name in chosen}


__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS",
    "ccpc",
    "evaluate_pair",
    "icpc",
    "integrated_loudness_lufs",
    "loudness_diff_lu",
    "loudness_range_diff_lu",
    "loudness_range_lu",
    "mel_distance",
    "si_sdr_db",
    "snr_db",
    "stft_distance",
    "true_peak_dbtp",
    "true_peak_diff_db",
]
