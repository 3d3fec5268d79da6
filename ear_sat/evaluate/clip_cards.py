"""The clips of the HTML report, as its template takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..report.pictures import RANGE_DB
from .clips import Clip, ClipChoice
from .engine import Evaluation
from .tables import format_value

COLORS = 8  # of the style sheet


def clip_cards(evaluation: Evaluation, clips: Sequence[Clip], choices: Sequence[ClipChoice]) -> list[dict[str, Any]]:
    """What the page's template shows of each clip.

    Args:
        evaluation: the results.
        clips: rendered clips in the order of the page.
        choices: why they were chosen.
    """
    reasons = {choice.file: choice.reasons for choice in choices}
    values = {(result.file, result.system): result.values for result in evaluation.results}
    color = {system: f"c{index % COLORS}" for index, system in enumerate(evaluation.systems)}
    shown = []
    for clip in clips:
        versions_shown = []
        for version in clip.versions:
            row = values.get((clip.file, version.name)) or {}
            versions_shown.append(
                {
                    **asdict(version),
                    "color": color.get(version.name, ""),
                    "facts": _loudness_text(version.loudness),
                    "scores": " · ".join(
                        f"{metric.label} {format_value(metric, row[metric.name])} {metric.unit}".strip()
                        for metric in evaluation.metrics.values()
                        if metric.frozen and metric.name in row
                    ),
                    "correlation_text": _correlation_text(version.correlation),
                }
            )
        shown.append(
            {
                "file": clip.file,
                "seconds": clip.seconds,
                "span": f"{_clock(clip.start)}–{_clock(clip.start + clip.seconds)}",
                "reasons": reasons.get(clip.file, ()),
                "top": f"{clip.top:.0f}".replace("-", "−"),
                "bottom": f"{clip.top - RANGE_DB:.0f}".replace("-", "−"),
                "versions": versions_shown,
            }
        )
    return shown


def _loudness_text(loudness: float) -> str:
    return "n/a LUFS" if math.isnan(loudness) else f"{loudness:.1f} LUFS".replace("-", "−")


def _correlation_text(correlation: float) -> str:
    return "" if math.isnan(correlation) else f", r = {correlation:.2f}".replace("-", "−")


def _clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> _clock(83.25)
    '1:23.2'
    """
    tenths = round(seconds * 10 - 1e-6)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
