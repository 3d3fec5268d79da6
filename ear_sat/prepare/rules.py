"""The two stages of the paper's filter, and further rules that are off unless asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UserError

KEEP, STAGE1, REJECT, ERROR = DECISIONS = ("keep", "stage1", "reject", "error")
"""Fit for both stages; for stage 1 (pre-training) only; for none; could not be measured."""
STAGES = {"stage1": (KEEP, STAGE1), "stage2": (KEEP,)}
"""The decisions whose tracks each stage of training takes."""


@dataclass(frozen=True)
class Rules:
    """Bounds of the filter. Infinite bounds are off.

    Stage 1, paper: natively 44.1 kHz or more, integrated loudness from −22 to −5 LUFS. Stage 2, paper: stage 1, and
    true peak below +1 dBTP.

    Args:
        min_sample_rate: in Hz.
        min_loudness, max_loudness: in LUFS.
        require_stereo: exactly two channels; ours.
        max_true_peak: in dBTP; stage 2, all others are stage 1.
        min_seconds: least length; ours, off.
        no_dual_mono: refuse stereo files with twice the same channel; ours, off.
        min_bandwidth: least highest frequency with content, in Hz; ours, off.
        no_duplicates: of files with the same bytes, refuse all but the first by path; ours, off.

    Raises:
        UserError: a bound is NaN, or the least loudness above the greatest.
    """

    min_sample_rate: float = 44100
    min_loudness: float = -22.0
    max_loudness: float = -5.0
    require_stereo: bool = True
    max_true_peak: float = 1.0
    min_seconds: float = 0.0
    no_dual_mono: bool = False
    min_bandwidth: float = 0.0
    no_duplicates: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if math.isnan(value):
                raise UserError(f"{name} must be a number, not NaN")
        if self.min_loudness > self.max_loudness:
            raise UserError(
                f"the least loudness ({self.min_loudness:g}) is above the greatest ({self.max_loudness:g} LUFS); "
                "swap them"
            )


#: Reasons in the order of the rules; what they mean, to print.
REASONS = {
    "unreadable": "could not be measured, see the column error",
    "sample_rate": "native sample rate too low",
    "not_stereo": "not two channels",
    "no_loudness": "no loudness: silent or shorter than 0.4 s",
    "too_quiet": "integrated loudness too low",
    "too_loud": "integrated loudness too high",
    "too_short": "too short",
    "dual_mono": "twice the same channel",
    "bandwidth": "no content at high frequencies",
    "duplicate": "the same bytes as an earlier file",
    "true_peak": "true peak too high (stage 2)",
}


def decide(row: Mapping[str, Any], rules: Rules, has_earlier_equal: Callable[[], bool]) -> tuple[str, list[str]]:
    """The decision for a track, and every reason against it; no reason for one that is kept.

    Args:
        row: see :data:`.measurement.Row`.
        rules: the bounds.
        has_earlier_equal: whether there is an earlier track of the same bytes; asked only if it matters.

    >>> row = {"sample_rate": 44100, "channels": 2, "loudness_lufs": -9.0, "true_peak_dbtp": 1.2, "error": None}
    >>> decide(row, Rules(), lambda: False), decide(row, Rules(max_loudness=-12, max_true_peak=2), lambda: False)
    (('stage1', ['true_peak']), ('reject', ['too_loud']))
    """
    if row.get("error") is not None:
        return ERROR, ["unreadable"]
    loudness, peak, bandwidth = (row.get(name) for name in ("loudness_lufs", "true_peak_dbtp", "bandwidth_hz"))
    broken = {
        "sample_rate": row["sample_rate"] < rules.min_sample_rate,
        "not_stereo": rules.require_stereo and row["channels"] != 2,
        "no_loudness": loudness is None and math.isfinite(rules.min_loudness),
        "too_quiet": loudness is not None and loudness < rules.min_loudness,
        "too_loud": loudness is not None and loudness > rules.max_loudness,
        "too_short": rules.min_seconds > 0 and row["duration"] < rules.min_seconds,
        "dual_mono": rules.no_dual_mono and bool(row.get("dual_mono")),
        "bandwidth": rules.min_bandwidth > 0 and (bandwidth or 0) < rules.min_bandwidth,
        "duplicate": rules.no_duplicates and has_earlier_equal(),
    }
    reasons = [name for name, is_broken in broken.items() if is_broken]
    clips = peak is not None and peak >= rules.max_true_peak
    decision = REJECT if reasons else STAGE1 if clips else KEEP
    return decision, reasons + ["true_peak"] * clips
