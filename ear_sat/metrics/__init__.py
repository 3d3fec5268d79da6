"""Metrics of audio reconstruction: pure functions ``metric(preds, target, sample_rate) -> float``.

A metric's name is its name everywhere: in tables, in JSON files, on log axes. Pair metrics are listed in
:data:`METRICS`: the frozen ones of the paper's comparison (:data:`FROZEN`), and ours (:data:`ADDITIONAL`), which see
what those are blind to: polarity, level, panning, and where in the spectrum a codec fails. Those in :data:`OPTIONAL`
need further packages and are only computed where they are named; :data:`KNOWN` has all. ``true_peak_dbtp``,
``integrated_loudness_lufs`` and ``loudness_range_lu`` measure one signal,
:class:`LoudnessMeter` and :class:`TruePeakMeter` one that arrives in blocks; ``offset_samples`` says whether a pair is
aligned at all. Waveforms are float tensors (channels, time) or (batch, channels, time); a batch gives the mean over its
clips, and :func:`evaluate_clips` a value for each. What is undefined is NaN.
Twins that a Lightning module logs stand in :mod:`.twins`.
"""

from .log1p import log1p_distance
from .loudness import integrated_loudness_lufs, loudness_diff_lu, loudness_range_diff_lu, loudness_range_lu
from .loudness_meter import LoudnessMeter
from .mslr import k_stft_distance_left, k_stft_distance_mid, k_stft_distance_right, k_stft_distance_side
from .octaves import (
    OCTAVES,
    si_sdr_1khz_db,
    si_sdr_2khz_db,
    si_sdr_4khz_db,
    si_sdr_8khz_db,
    si_sdr_16khz_db,
    si_sdr_31hz_db,
    si_sdr_63hz_db,
    si_sdr_125hz_db,
    si_sdr_250hz_db,
    si_sdr_500hz_db,
    si_sdr_octaves_db,
)
from .offset import Offset, offset_samples
from .phase import ccpc, icpc
from .registry import (
    ADDITIONAL,
    FROZEN,
    HIGHER_IS_BETTER,
    KNOWN,
    METRICS,
    OPTIONAL,
    Metric,
    evaluate_clips,
    evaluate_pair,
)
from .spectral import mel_distance, stft_distance
from .stereo import icc_error, icld_error_db, panning_error_deg, stereo_width_error_db
from .true_peak import true_peak_dbtp, true_peak_diff_db
from .true_peak_meter import TruePeakMeter
from .visqol import require_visqol, visqol_mos
from .waveform import polarity_left, polarity_right, si_sdr_db, snr_db

__all__ = [
    "ADDITIONAL",
    "FROZEN",
    "HIGHER_IS_BETTER",
    "KNOWN",
    "METRICS",
    "OCTAVES",
    "OPTIONAL",
    "LoudnessMeter",
    "Metric",
    "Offset",
    "TruePeakMeter",
    "ccpc",
    "evaluate_clips",
    "evaluate_pair",
    "icc_error",
    "icld_error_db",
    "icpc",
    "integrated_loudness_lufs",
    "k_stft_distance_left",
    "k_stft_distance_mid",
    "k_stft_distance_right",
    "k_stft_distance_side",
    "log1p_distance",
    "loudness_diff_lu",
    "loudness_range_diff_lu",
    "loudness_range_lu",
    "mel_distance",
    "offset_samples",
    "panning_error_deg",
    "polarity_left",
    "polarity_right",
    "require_visqol",
    "si_sdr_1khz_db",
    "si_sdr_2khz_db",
    "si_sdr_4khz_db",
    "si_sdr_8khz_db",
    "si_sdr_16khz_db",
    "si_sdr_31hz_db",
    "si_sdr_63hz_db",
    "si_sdr_125hz_db",
    "si_sdr_250hz_db",
    "si_sdr_500hz_db",
    "si_sdr_db",
    "si_sdr_octaves_db",
    "snr_db",
    "stereo_width_error_db",
    "stft_distance",
    "true_peak_dbtp",
    "true_peak_diff_db",
    "visqol_mos",
]
