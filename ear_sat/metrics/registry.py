"""All pair metrics by name: the frozen ones of the paper's comparison, then ours, with what a report says of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import check_choice
from .clips import check_pair
from .log1p import log1p_distance
from .loudness import loudness_diff_lu, loudness_range_diff_lu
from .mslr import k_stft_distance_left, k_stft_distance_mid, k_stft_distance_right, k_stft_distance_side
from .octaves import OCTAVES, si_sdr_octaves_db
from .phase import ccpc, icpc
from .spectral import mel_distance, stft_distance
from .stereo import icc_error, icld_error_db, panning_error_deg, stereo_width_error_db
from .true_peak import true_peak_diff_db
from .visqol import visqol_mos
from .waveform import polarity_left, polarity_right, si_sdr_db, snr_db


@dataclass(frozen=True)
class Metric:
    """A pair metric and what tables and tooltips say of it; calling it gives its value.

    Attributes:
        name: key in tables and JSON files.
        function: the metric; one that gives several values, by name, is computed once by :func:`evaluate_pair`.
        label: heading of a table's column.
        unit: "" if dimensionless.
        description: one line.
        identity: the value of an identical pair, in the limit: 0 (less is better), 1 or ``inf`` (more is better).
            Ratios whose definition guards its divisions stop short of ``inf``, above or at 100 dB.
        frozen: the definition is that of the εar-VAE evaluation, or of the standard, and does not change.
        package: of the index, without which it cannot be computed; "" if it needs none.
    """

    name: str
    function: Callable[[Tensor, Tensor, int], float | dict[str, float]]
    label: str
    unit: str
    description: str
    identity: float
    frozen: bool = False
    package: str = ""

    @property
    def higher_is_better(self) -> bool:
        return self.identity > 0

    def __call__(self, preds: Tensor, target: Tensor, sample_rate: int) -> float:
        value = self.function(preds, target, sample_rate)
        return value[self.name] if isinstance(value, dict) else value


def _frozen(function: Callable[..., float], label: str, unit: str, identity: float, description: str) -> Metric:
    return Metric(function.__name__, function, label, unit, description, identity, frozen=True)


def _additional(function: Callable[..., float], label: str, unit: str, identity: float, description: str) -> Metric:
    return Metric(function.__name__, function, label, unit, description, identity)


def _octave(name: str) -> Metric:
    nominal = name.removeprefix("si_sdr_").removesuffix("_db").replace("khz", " kHz").replace("hz", " Hz")
    nominal = nominal.replace("31 Hz", "31.5 Hz")
    description = f"SI-SDR within the octave around {nominal}, gain fitted in the band"
    return Metric(name, si_sdr_octaves_db, f"SI-SDR {nominal}", "dB", description, math.inf)


_ALL = (
    _frozen(si_sdr_db, "SI-SDR", "dB", math.inf, "waveform against its error after the best gain; blind to polarity"),
    _frozen(stft_distance, "MS-STFT", "", 0, "A-weighted multi-resolution STFT distance, windows 4096…128"),
    _frozen(mel_distance, "MS-Mel", "", 0, "A-weighted multi-resolution distance in 64 mel bands, windows 4096…512"),
    _frozen(icpc, "ICPC", "", 1, "phase coherence with the target, per channel, weighted by energy"),
    _frozen(ccpc, "CCPC", "", 1, "coherence of the phase difference between left and right"),
    _frozen(true_peak_diff_db, "ΔdBTP", "dB", 0, "difference of the true peaks, BS.1770"),
    _frozen(loudness_diff_lu, "ΔLUFS", "LU", 0, "difference of the integrated loudness, BS.1770"),
    _frozen(loudness_range_diff_lu, "ΔLRA", "LU", 0, "difference of the loudness range, EBU Tech 3342"),
    _additional(snr_db, "SNR", "dB", math.inf, "signal to error without gain fitting: sees gain and polarity"),
    _additional(k_stft_distance_mid, "K-STFT M", "", 0, "K-weighted STFT distance of the mid"),
    _additional(k_stft_distance_side, "K-STFT S", "", 0, "K-weighted STFT distance of the side"),
    _additional(k_stft_distance_left, "K-STFT L", "", 0, "K-weighted STFT distance of the left channel"),
    _additional(k_stft_distance_right, "K-STFT R", "", 0, "K-weighted STFT distance of the right channel"),
    _additional(log1p_distance, "log1p", "", 0, "multi-scale distance of log1p magnitudes, knee at −80 dBFS"),
    _additional(polarity_left, "polarity L", "", 1, "correlation with the target's left channel; −1 is a flip"),
    _additional(polarity_right, "polarity R", "", 1, "correlation with the target's right channel; −1 is a flip"),
    _additional(icld_error_db, "ICLD error", "dB", 0, "error of the level difference between left and right"),
    _additional(icc_error, "ICC error", "", 0, "error of the correlation between left and right"),
    _additional(stereo_width_error_db, "width error", "dB", 0, "error of the side's level under the mid"),
    _additional(panning_error_deg, "panning error", "°", 0, "error of the panning angle per tile, weighted by level"),
    *(_octave(name) for name in OCTAVES),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Pair metrics by name, in the order of tables."""

OPTIONAL: dict[str, Metric] = {
    "visqol_mos": Metric(
        "visqol_mos",
        visqol_mos,
        "ViSQOL",
        "",
        "opinion of listeners (MOS-LQO), predicted from the mean of left and right; 1 bad, 4.73 identical",
        4.7321,
        package="visqol-python",
    )
}
"""Pair metrics that are slow and need further packages, by name; only computed where they are named."""

KNOWN: dict[str, Metric] = METRICS | OPTIONAL
"""All pair metrics there are."""

FROZEN: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if metric.frozen)
"""The metrics of the εar-VAE evaluation and of the loudness standards, in order."""

ADDITIONAL: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if not metric.frozen)
"""The metrics that are ours, in order: they see what the frozen ones are blind to."""

HIGHER_IS_BETTER: frozenset[str] = frozenset(name for name, metric in METRICS.items() if metric.higher_is_better)
"""The metrics of which more is better; of the others, less is."""


def evaluate_pair(
    preds: Tensor, target: Tensor, sample_rate: int, names: Iterable[str] | None = None
) -> dict[str, float]:
    """Computes several pair metrics.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz.
        names: keys of :data:`KNOWN`, default those of :data:`METRICS`.

    Returns:
        Name -> value in the order of ``names``; NaN where undefined.

    Raises:
        UserError: an unknown name (the message names the close match), or a missing package.
        ValueError: shapes or types do not fit.

    >>> import torch
    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(2, -1)
    >>> evaluate_pair(y, y, 44100, names=["snr_db", "stft_distance", "loudness_range_diff_lu"])
    {'snr_db': inf, 'stft_distance': 0.0, 'loudness_range_diff_lu': nan}
    """
    chosen = [KNOWN[check_choice("metric", name, KNOWN)] for name in (METRICS if names is None else names)]
    results = {function: function(preds, target, sample_rate) for function in dict.fromkeys(m.function for m in chosen)}
    values = {}
    for metric in chosen:
        result = results[metric.function]
        values[metric.name] = result[metric.name] if isinstance(result, dict) else result
    return values


def evaluate_clips(
    preds: Tensor, target: Tensor, sample_rate: int, names: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """:func:`evaluate_pair` for each clip of a batch.

    Args:
        preds: the estimates, (batch, channels, time), full scale 1.
        target: the references, same shape.
        sample_rate: in Hz.
        names: keys of :data:`KNOWN`, default those of :data:`METRICS`.

    Returns:
        Name -> values (batch,), float64 on the CPU, in the order of ``names``; NaN where undefined.

    Raises:
        UserError: an unknown name.
        ValueError: shapes or types do not fit.

    >>> import torch
    >>> y = torch.sin(torch.arange(8192) * 0.1).expand(3, 2, -1)
    >>> evaluate_clips(y * torch.tensor([0.9, 1.1, 0.0])[:, None, None], y, 44100, ["snr_db"])["snr_db"].round()
    tensor([20., 20.,  0.], dtype=torch.float64)
    """
    check_pair(preds, target, sample_rate)
    if preds.dim() != 3:
        raise ValueError(f"preds and target must have the shape (batch, channels, time), not {tuple(preds.shape)}")
    chosen = list(METRICS if names is None else names)
    rows = [evaluate_pair(p, t, sample_rate, chosen) for p, t in zip(preds, target, strict=True)]
    return {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in chosen}
