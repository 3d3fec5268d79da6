"""The page of a comparison: tables, learning curves, excerpts to listen to, what was changed in which variant."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config_edits import ABSENT, differences
from ..data.excerpt import read_excerpt
from ..evaluate.loading import SAMPLE_RATE
from ..evaluate.provenance import measured_with
from ..evaluate.summary import LEAST_FOR_A_LEAD
from ..evaluate.tables import format_value
from ..metrics import METRICS, Metric
from ..report.html import render
from ..report.listening import playable
from ..report.strips import axis_ticks, place
from .curves import Curve, learning_curve
from .measuring import EXCERPT_SECONDS, excerpt_file
from .plan import RESERVED, Variant
from .run import Comparison
from .statistics import REPLICATES, Row
from .tables import NOT_RUN, SHOWN, format_difference, format_interval, length_of, trained

COLORS = 8  # of the style sheet; the next eight variants have them dashed
CURVES = ("si_sdr_db", "stft_distance")
MAX_CHANGES = 12
"""Differences of a config that are listed one by one."""

SPAN = 1.5
"""Of the range of the curves' later halves: what is drawn of an axis, for the first rounds start far below."""

GOOD_SHARE = 0.75
"""Of the curves, the best ones: those whose range counts."""


def comparison_page(comparison: Comparison, clips: int | None) -> str:
    """The page as text.

    Args:
        comparison: what is known.
        clips: how many tracks can be listened to; None for all.
    """
    plan = comparison.plan
    listening = _listening(comparison, clips)
    return render(
        "compare.html",
        title=plan.title,
        lead=_lead(comparison),
        alerts=[f"{len(comparison.failures)} run(s) failed."] if comparison.failures else [],
        base=plan.base.name,
        metrics=SHOWN,
        sets=[_set(comparison, name) for name in comparison.results],
        variants=[_variant(comparison, variant) for variant in plan.variants],
        panels=_panels(comparison),
        curves_note="One clip of 6 s of the first set's first track, measured during the training. Line: mean of the "
        "seeds; band: from the lowest to the highest of them. The axis leaves out most of the first rounds' rise.",
        listening=listening,
        listening_note=f"The loudest {EXCERPT_SECONDS:g} seconds of each track, by the first seed of each variant. "
        "Loudness-matched playback brings all versions to one loudness.",
        failures=[(run.name, why) for run, why in comparison.failures.items()],
        method=_method(comparison),
        footer=" · ".join(f"{name} {version}" for name, version in measured_with().items()),
    )


def _lead(comparison: Comparison) -> str:
    plan = comparison.plan
    size = f" · size {plan.size}" if plan.size else ""
    runs = f"{len(plan.variants)} variants · {len(comparison.runs)} runs{size}"
    return f"{plan.about} {runs}".strip()


def _style(comparison: Comparison, variant: str) -> str:
    """The classes of the style sheet that tell a variant from the others."""
    turn, color = divmod([v.name for v in comparison.plan.variants].index(variant), COLORS)
    return f"c{color}" + (" again" if turn else "")


def _set(comparison: Comparison, name: str) -> dict[str, Any]:
    summaries = comparison.summaries[name]
    tracks = {track for by_track in comparison.results[name].values() for track in by_track}
    note = f"{len(tracks)} whole track{'s' if len(tracks) > 1 else ''}: {', '.join(sorted(tracks))}."
    if len(tracks) < LEAST_FOR_A_LEAD:
        note += (
            " So few tracks say little about other music: the intervals are too narrow, and no lead is beyond chance."
        )
    rows = []
    for variant in comparison.plan.variants:
        found = [summaries[metric.name].get(variant.name) for metric in SHOWN]
        shown = {"name": variant.name, "style": _style(comparison, variant.name)}
        missing = "not measured on these tracks" if comparison.runs_of(variant.name) else NOT_RUN
        first = found[0]
        cells = [_cell(metric, row) for metric, row in zip(SHOWN, found, strict=True) if row is not None]
        count = "" if first is None else f"{first.tracks} × {first.seeds}"
        rows.append({"variant": shown, "cells": cells, "missing": missing, "count": count})
    return {"name": name, "title": f"{name.capitalize()} tracks", "note": note, "rows": rows}


def _cell(metric: Metric, row: Row) -> dict[str, str]:
    cell = {
        "text": format_value(metric, row.value.mean),
        "interval": format_interval(metric, row.value),
        "difference": "",
    }
    if row.difference is not None:
        better = (row.difference.mean > 0) == metric.higher_is_better
        cell["better"] = f"{row.above if metric.higher_is_better else row.pairs - row.above}/{row.pairs}"
        cell["difference"] = format_difference(metric, row.difference)
        cell["difference_interval"] = format_interval(metric, row.difference)
        cell["verdict"] = ("good" if better else "bad") if row.beyond_chance else ""
    return cell


def _variant(comparison: Comparison, variant: Variant) -> dict[str, Any]:
    changes = [
        f"{path}: {_shown(ours)} → {_shown(theirs)}"
        for path, ours, theirs in differences(comparison.plan.base.config, variant.config)
    ]
    if len(changes) > MAX_CHANGES:
        changes = [*changes[:MAX_CHANGES], f"… and {len(changes) - MAX_CHANGES} more"]
    return {
        "name": variant.name,
        "about": variant.about,
        "style": _style(comparison, variant.name),
        "length": length_of(variant),
        "trained": trained(comparison, variant.name),
        "changes": changes,
    }


def _shown(value: object) -> str:
    text = "absent" if value is ABSENT else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:78]} …"


def _panels(comparison: Comparison) -> list[dict[str, Any]]:
    panels = []
    for name in CURVES:
        curves = {
            variant.name: curve
            for variant in comparison.plan.variants
            if (curve := learning_curve([comparison.courses[run] for run in comparison.runs_of(variant.name)], name))
            and len(curve.rounds) > 1
        }
        if curves:
            panels += [_panel(comparison, METRICS[name], curves, axis) for axis in ("rounds", "minutes")]
    return panels


def _panel(comparison: Comparison, metric: Metric, curves: Mapping[str, Curve], axis: str) -> dict[str, Any]:
    low, high = _range(metric, list(curves.values()))
    across = {
        name: list(map(float, curve.rounds)) if axis == "rounds" else [second / 60 for second in curve.seconds]
        for name, curve in curves.items()
    }
    most = max(max(xs) for xs in across.values())
    lines = []
    for name, curve in curves.items():
        xs = [place(x, 0, most) for x in across[name]]
        area = [(x, place(y, low, high)) for x, y in zip(xs, curve.high, strict=True)]
        area += [(x, place(y, low, high)) for x, y in reversed(list(zip(xs, curve.low, strict=True)))]
        points = [(x, place(y, low, high)) for x, y in zip(xs, curve.mean, strict=True)]
        last = f"{format_value(metric, curve.mean[-1])} at {across[name][-1]:.4g} {axis}"
        style = _style(comparison, name)
        lines.append({"name": name, "style": style, "points": points, "area": area, "last": last})
    return {
        "metric": metric,
        "axis": f"against {axis}" if axis == "rounds" else "against minutes of training",
        "y_ticks": axis_ticks(low, high, 6),
        "x_ticks": axis_ticks(0, most, 6),
        "lines": lines,
    }


def _range(metric: Metric, curves: Sequence[Curve]) -> tuple[float, float]:
    """Ends of the vertical axis: all of the later halves, and as much again of what was worse before."""
    # One variant that learns nothing must not hide what the others differ in.
    ordered = sorted(curves, key=lambda curve: curve.mean[-1], reverse=metric.higher_is_better)
    good = ordered[: max(1, math.ceil(GOOD_SHARE * len(ordered)))]
    late = [value for curve in good for side in (curve.low, curve.high) for value in side[len(side) // 2 :]]
    every = [value for curve in curves for side in (curve.low, curve.high) for value in side]
    margin = 0.05 * (max(late) - min(late)) or 1.0
    reach = SPAN * (max(late) - min(late)) or 1.0
    if metric.higher_is_better:
        return max(min(every), max(late) - reach) - margin, max(every) + margin
    return min(every) - margin, min(max(every), min(late) + reach) + margin


def _listening(comparison: Comparison, count: int | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, by_run in comparison.measurements.items():
        first = {run.variant: by_run[run] for run in sorted(by_run, key=lambda run: -run.seed)}
        order = [first[variant.name] for variant in comparison.plan.variants if variant.name in first]
        for track in {track: None for m in order for track in comparison.results[name][m.run]}:
            reference = excerpt_file(order[0].reference_excerpts, track)
            made = {m.run.variant: path for m in order if (path := excerpt_file(m.excerpts, track)).exists()}
            if count is not None and len(found) >= count:
                return found
            if made and reference.exists():
                found.append(_clip(comparison, name, track, {RESERVED: reference, **made}))
    return found


def _clip(comparison: Comparison, name: str, track: str, files: Mapping[str, Path]) -> dict[str, Any]:
    versions = {label: read_excerpt(path, 2)[0] for label, path in files.items()}
    styles = {variant.name: _style(comparison, variant.name) for variant in comparison.plan.variants}
    return {**playable(track, versions, SAMPLE_RATE, styles), "set": name}


def _method(comparison: Comparison) -> str:
    return (
        "Every variant was trained once per seed. Its exported model reconstructed whole tracks, which were measured "
        "as by ear-sat evaluate. A set called test, where there is one, is for what was chosen on the others. "
        f"Intervals: percentile bootstrap, {REPLICATES} replicates, seed {comparison.seed}; tracks are drawn with "
        "replacement, then the seeds within each drawn track, the same draws for every variant. The minutes of "
        "training leave out measurements, and are those of this machine as busy as it was."
    )
