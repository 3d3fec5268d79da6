"""The HTML report: turns an evaluation and its clips into what the page's template shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..metrics import METRICS, OCTAVES, Metric
from ..report.html import render
from ..report.pictures import DIFFERENCE_DB, LEVEL_COLORS, PHASE_COLORS, TOO_LOUD, TOO_QUIET, color_bar
from ..report.strips import axis_ticks, place, strip_plot
from ..report.tables import format_cell
from ..report.time_frequency import frequency_ticks
from .clip_cards import clip_cards
from .clips import Clip, ClipChoice
from .engine import Evaluation
from .files import noted
from .loading import SAMPLE_RATE
from .provenance import measured_with
from .rates import COLUMNS, rate_note, rate_rows
from .references import CAVEAT, OWN, Reference, beside
from .summary import LEAST_FOR_A_LEAD, REPLICATES, Summary
from .tables import (
    FRECHET_COLUMNS,
    TITLES,
    Summaries,
    format_value,
    frechet_rows,
    interval,
    reference_columns,
    reference_note,
    reference_rows,
)

FEW_FILES = 10
"""Below it, a percentile bootstrap is known to give intervals that are too narrow."""

MAX_FILE_ROWS = 600
"""Rows of the page's table of files; results.csv has them all."""


def evaluation_page(
    evaluation: Evaluation,
    clips: Sequence[Clip],
    choices: Sequence[ClipChoice],
    clips_note: str,
    references: Sequence[Reference] = (),
) -> str:
    """The page as text.

    Args:
        evaluation: the results.
        clips: rendered clips in the order of the page.
        choices: why they were chosen; more of them than ``clips`` where the page would have become too large.
        clips_note: the sentence above them.
        references: scores of other systems, to stand beside those measured.
    """
    own = evaluation.own_summaries if evaluation.sharing_note() and evaluation.shared else None
    failures, unmatched = evaluation.failures, evaluation.pairing.unmatched
    alerts = []
    if failures:
        alerts.append(f"{len(failures)} of {len(evaluation.results)} pairs could not be measured.")
    if unmatched:
        alerts.append(f"{len(unmatched)} file(s) found no counterpart.")
    late = sum(bool(result.offset) for result in evaluation.results)
    if late and not evaluation.align:
        alerts.append(f"{late} pair(s) are misaligned by a constant offset, which --align takes out.")
    return render(
        "evaluation.html",
        title="Codec evaluation",
        lead=_lead(evaluation),
        systems=_systems(evaluation),
        alerts=alerts,
        summary_note=_summary_note(evaluation),
        groups=_groups(evaluation, evaluation.summaries, plots=True),
        own_groups=_groups(evaluation, own, plots=False) if own else None,
        octaves=_octaves(evaluation),
        clips=clip_cards(evaluation, clips, choices),
        clips_note=clips_note,
        frequency_ticks=[tick for tick in frequency_ticks(SAMPLE_RATE) if tick[1] in ("200", "500", "2k", "5k", "10k")],
        level_bar=color_bar(LEVEL_COLORS),
        phase_bar=color_bar(PHASE_COLORS),
        difference_bar=f"linear-gradient(to right, rgb{TOO_QUIET}, transparent, rgb{TOO_LOUD})",
        difference_db=f"{DIFFERENCE_DB:.0f}",
        rates=_rates(evaluation) if evaluation.codecs else None,
        references=_references(beside(evaluation, references)) if references else None,
        frechet={"columns": FRECHET_COLUMNS, "rows": _frechet(evaluation)} if evaluation.frechet else None,
        files=_files(evaluation, [clip.file for clip in clips]),
        failures=failures,
        unmatched=unmatched,
        notes=noted(evaluation),
        method=_method(evaluation),
        footer=" · ".join(f"{name} {version}" for name, version in measured_with().items()),
    )


def _lead(evaluation: Evaluation) -> str:
    files = {result.file: result.seconds for result in evaluation.results if result.error is None}
    minutes = sum(files.values()) / 60
    return (
        f"{len(evaluation.systems)} system{'s' if len(evaluation.systems) > 1 else ''} · {len(files)} files · "
        f"{minutes:.1f} minutes of music · reference {evaluation.reference} · {datetime.now():%d %B %Y, %H:%M}"
    )


def _systems(evaluation: Evaluation) -> list[dict[str, Any]]:
    systems = []
    for system, path in evaluation.estimates.items():
        failed = sum(result.system == system for result in evaluation.failures)
        facts = f"{len(evaluation.measured(system))} files" + (f", {failed} failed" if failed else "")
        systems.append({"name": system, "path": str(path), "facts": facts})
    return systems


def _summary_note(evaluation: Evaluation) -> str:
    note = evaluation.sharing_note()
    if note:
        return f"{note[0].upper()}{note[1:]}."
    count = len(evaluation.shared)
    if count == 1:
        return "One file: no intervals, and nothing to generalise from."
    note = f"Means over {count} files" + (", the same for every system." if len(evaluation.systems) > 1 else ".")
    if count < LEAST_FOR_A_LEAD and len(evaluation.systems) > 1:
        return f"{note} So few files make the intervals too narrow, and no lead is beyond chance."
    return f"{note} So few files make the intervals too narrow." if count < FEW_FILES else note


def _groups(evaluation: Evaluation, summaries: Summaries, plots: bool) -> list[dict[str, Any]]:
    groups = []
    for frozen, tag in ((True, "comparable with published figures"), (False, "they see what the frozen ones miss")):
        metrics = [metric for metric in evaluation.metrics.values() if metric.frozen == frozen]
        shown = [metric for metric in metrics if metric.name not in OCTAVES]  # the bands have a section of their own
        lines = [
            {
                "metric": metric,
                "cells": [_cell(metric, summaries[metric.name][system]) for system in evaluation.systems],
            }
            for metric in shown
        ]
        drawn = shown if plots else []
        groups.append(
            {
                "title": TITLES[frozen],
                "tag": tag,
                "metrics": metrics,
                "lines": lines,
                "plots": [{"metric": metric, "plot": _distribution(evaluation, metric)} for metric in drawn],
            }
        )
    return groups


def _cell(metric: Metric, summary: Summary) -> dict[str, Any]:
    return {
        "text": format_value(metric, summary.mean),
        "interval": interval(metric, summary),
        "rank": summary.rank,
        "tied": summary.tied,
        "undefined": summary.undefined if summary.files else 0,
    }


def _distribution(evaluation: Evaluation, metric: Metric) -> Any:
    return strip_plot(
        {
            system: {result.file: result.values[metric.name] for result in evaluation.measured(system)}
            for system in evaluation.systems
        }
    )


def _octaves(evaluation: Evaluation) -> dict[str, Any] | None:
    """Curves of SI-SDR over octave bands; None where no band has a value."""
    by_system = {system: [evaluation.summaries[name][system] for name in OCTAVES] for system in evaluation.systems}
    shown = [s for row in by_system.values() for s in row if math.isfinite(s.mean)]
    if not shown:
        return None
    edges = [value for s in shown for value in (s.mean, s.low, s.high) if math.isfinite(value)]
    margin = 0.05 * (max(edges) - min(edges)) or 1.0
    low, high = min(edges) - margin, max(edges) + margin
    places = [(index + 0.5) / len(OCTAVES) for index in range(len(OCTAVES))]
    labels = [METRICS[name].label.removeprefix("SI-SDR ") for name in OCTAVES]
    curves = []
    for system, row in by_system.items():
        band = list(zip(places, labels, row, strict=True))
        points = [
            (x, place(s.mean, low, high), f"{label}, {s.mean:.2f} dB") for x, label, s in band if math.isfinite(s.mean)
        ]
        wide = [(x, s) for x, _, s in band if math.isfinite(s.low)]
        area = [(x, place(s.high, low, high)) for x, s in wide] + [
            (x, place(s.low, low, high)) for x, s in reversed(wide)
        ]
        curves.append({"name": system, "points": points, "area": area})
    rows = [
        {"name": system, "cells": [_cell(METRICS[name], evaluation.summaries[name][system]) for name in OCTAVES]}
        for system in evaluation.systems
    ]
    return {
        "ticks": axis_ticks(low, high, 8),
        "rows": rows,
        "bands": list(zip(places, labels, strict=True)),
        "curves": curves,
    }


def _rates(evaluation: Evaluation) -> Mapping[str, Any]:
    rows = [[name, *map(format_cell, values)] for name, *values in rate_rows(evaluation.codecs)]
    return {"note": rate_note(evaluation.codecs), "columns": list(COLUMNS.values()), "rows": rows}


def _references(rows: Sequence[Reference]) -> Mapping[str, Any]:
    return {
        "caveat": CAVEAT,
        "note": reference_note(rows),
        "columns": reference_columns(),
        "rows": [
            {"own": row.measured_by == OWN, "cells": cells}
            for row, cells in zip(rows, reference_rows(rows), strict=True)
        ],
    }


def _frechet(evaluation: Evaluation) -> list[list[str]]:
    return [[format_cell(cell) for cell in row] for row in frechet_rows(evaluation.frechet)]


def _files(evaluation: Evaluation, clip_files: Sequence[str]) -> dict[str, Any]:
    metrics = [metric for metric in METRICS.values() if metric.frozen]
    # Failures first: they must not be what a limit cuts off.
    results = sorted(evaluation.results, key=lambda result: result.error is None)
    place_of = {file: index + 1 for index, file in enumerate(clip_files)}
    rows = [
        {
            "file": result.file,
            "system": result.system,
            "error": result.error,
            "notes": "; ".join(result.notes),
            "clip": place_of.get(result.file),
            "cells": [
                ("" if math.isnan(value) else repr(value).replace("inf", "Infinity"), format_value(metric, value))
                for metric in metrics
                for value in [result.values.get(metric.name, math.nan)]
            ],
        }
        for result in results[:MAX_FILE_ROWS]
    ]
    note = "Frozen metrics per file; a click on a heading sorts. All metrics are in results.csv."
    if len(results) > MAX_FILE_ROWS:
        note += f" The first {MAX_FILE_ROWS} of {len(results)} rows are shown."
    return {"metrics": metrics, "rows": rows, "note": note}


def _method(evaluation: Evaluation) -> str:
    offset = (
        "Detected constant offsets were taken out." if evaluation.align else "Constant offsets were left as they are."
    )
    return (
        f"Reference and estimate were brought to {SAMPLE_RATE} Hz (torchaudio's resampler with its defaults), mono "
        f"against stereo copied to both channels, and trimmed to the shorter of the two. {offset} A metric that is "
        "undefined for a file, such as any of silence, is n/a and left out of means. Intervals: percentile bootstrap "
        f"over files, {REPLICATES} replicates, seed {evaluation.seed}, the same draws for every system."
    )
