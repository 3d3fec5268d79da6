"""What a preparation found, as tables and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import write_text
from ..report.histograms import HistogramPanel, save_histograms
from ..report.tables import markdown_table
from .rules import ERROR, KEEP, REASONS, REJECT, STAGE1, Rules
from .statistics import Histogram, Statistics, Tally

LABELS = {KEEP: "keep: both stages", STAGE1: "stage1: stage 1 only", REJECT: "reject", ERROR: "error"}

Table = tuple[str, Sequence[str], list[list[Any]]]
"""Title, columns and rows, for :func:`ear_sat.report.tables.print_table`."""


def summary_tables(statistics: Statistics) -> list[Table]:
    """Tracks by decision, and by reason: each track under its first reason, and how many tracks a reason is true of."""
    total = statistics.total
    decisions = [[LABELS[name], *_cells(tally, total)] for name, tally in statistics.by_decision.items()]
    reasons = [
        [name, meaning, *_cells(statistics.by_first_reason.get(name, Tally()), total), statistics.by_reason[name]]
        for name, meaning in REASONS.items()
        if statistics.by_reason[name]
    ]
    columns = ["tracks", "hours", "% of tracks"]
    tables: list[Table] = [
        ("Tracks by decision", ["decision", *columns], [*decisions, ["total", *_cells(total, total)]])
    ]
    if reasons:
        tables.append(("Tracks by their first reason", ["reason", "", *columns, "tracks in all"], reasons))
    return tables


def _cells(tally: Tally, total: Tally) -> list[Any]:
    return [tally.tracks, tally.seconds / 3600, 100 * tally.tracks / total.tracks if total.tracks else None]


def write_summary(path: Path, statistics: Statistics) -> None:
    """Writes the tables as Markdown."""
    parts = [f"## {title}\n\n{markdown_table(columns, rows)}\n" for title, columns, rows in summary_tables(statistics)]
    write_text(path, "\n".join(parts))


def save_distributions(path: Path, statistics: Statistics, rules: Rules) -> None:
    """Draws loudness, true peak and bandwidth of all tracks, with the bounds of ``rules``."""

    def panel(title: str, unit: str, histogram: Histogram, *bounds: float) -> HistogramPanel:
        counts = {LABELS[name]: values for name, values in histogram.counts.items() if name != ERROR}
        return HistogramPanel(title, unit, histogram.edges, counts, bounds)

    panels = [
        panel("integrated loudness", "LUFS", statistics.loudness, rules.min_loudness, rules.max_loudness),
        panel("true peak", "dBTP", statistics.peak, rules.max_true_peak),
        panel("highest frequency with content", "Hz", statistics.bandwidth, rules.min_bandwidth or math.nan),
    ]
    save_histograms(path, panels, f"{statistics.total.tracks:,} tracks")
