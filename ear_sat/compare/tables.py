"""A comparison as text: for the terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..evaluate.measure import encode_number
from ..evaluate.tables import format_value, heading
from ..metrics import METRICS, Metric
from ..report.tables import markdown_table
from .plan import Variant
from .run import Comparison
from .statistics import Estimate, Row

NOT_RUN = "not run"
SHOWN = [metric for metric in METRICS.values() if metric.frozen]
LEGEND = (
    "Mean over tracks and seeds [95 % interval: tracks resampled, and seeds within each]; Δ: difference to the first "
    "variant on the same tracks and seeds, and in how many of those pairs it is better; n: tracks × seeds; **bold** Δ: "
    "its interval leaves 0 out, and there are six tracks or more."
)


def length_of(variant: Variant) -> str:
    """How long a variant is trained, and on what batches."""
    settings = variant.settings
    parts = [f"{settings.rounds} rounds"] if settings.rounds else []
    parts += [f"{settings.minutes:g} min"] if settings.minutes else []
    return f"{' or '.join(parts)}, batch {settings.batch_size}"


def trained(comparison: Comparison, variant: str) -> str:
    """Mean training time of a variant's runs, or that there is none."""
    known = [found for run in comparison.runs_of(variant) if (found := comparison.courses[run].end)]
    if not known:
        return NOT_RUN if not comparison.runs_of(variant) else "n/a"
    return f"{sum(seconds for _, seconds in known) / len(known):.0f} s"


def format_interval(metric: Metric, estimate: Estimate) -> str:
    """The interval in brackets, or nothing."""
    if math.isnan(estimate.low):
        return ""
    return f"[{format_value(metric, estimate.low)}, {format_value(metric, estimate.high)}]"


def format_difference(metric: Metric, estimate: Estimate) -> str:
    """A difference with its sign."""
    text = format_value(metric, estimate.mean)
    return text if text.startswith("−") or math.isnan(estimate.mean) else f"+{text}"


def comparison_markdown(comparison: Comparison) -> str:
    """The frozen metrics on all sets of tracks; results.csv and results.json have the others."""
    plan = comparison.plan
    parts = [f"# {plan.title}"] + ([plan.about] if plan.about else [])
    rows = [[v.name, v.about, length_of(v), trained(comparison, v.name)] for v in plan.variants]
    parts.append(markdown_table(["variant", "what it is", "length", "trained"], rows))
    for name in comparison.results:
        parts += [f"## {name.capitalize()} tracks", markdown_table(*_table(comparison, name))]
    parts.append(LEGEND)
    if comparison.failures:
        parts += ["## Failed", "\n".join(f"- {run.name}: {why}" for run, why in comparison.failures.items())]
    return "\n\n".join(parts) + "\n"


def _table(comparison: Comparison, tracks: str) -> tuple[list[str], list[list[str]]]:
    summaries = comparison.summaries[tracks]
    rows = []
    for variant in comparison.plan.variants:
        found = {metric.name: summaries[metric.name].get(variant.name) for metric in SHOWN}
        first = found[SHOWN[0].name]
        count = NOT_RUN if first is None else f"{first.tracks} × {first.seeds}"
        rows.append([variant.name, count, *(_cell(metric, found[metric.name]) for metric in SHOWN)])
    return ["variant", "n", *(heading(metric) for metric in SHOWN)], rows


def _cell(metric: Metric, row: Row | None) -> str:
    if row is None:
        return ""
    text = f"{format_value(metric, row.value.mean)} {format_interval(metric, row.value)}".strip()
    if row.difference is None:
        return text
    difference = format_difference(metric, row.difference)
    marked = f"**{difference}**" if row.beyond_chance else difference
    better = row.above if metric.higher_is_better else row.pairs - row.above
    return f"{text}; Δ {marked} {format_interval(metric, row.difference)} {better}/{row.pairs}".replace("  ", " ")


def comparison_csv(comparison: Comparison) -> str:
    """A row per set, variant, seed and track."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["tracks", "variant", "seed", "track", *METRICS, "seconds", "notes", "error"])
    for tracks, run, result in _results(comparison):
        values = [result.values.get(name, math.nan) for name in METRICS]
        cells = ["" if math.isnan(value) else repr(value) for value in (*values, result.seconds)]
        writer.writerow([tracks, run.variant, run.seed, result.file, *cells, "; ".join(result.notes), result.error])
    return buffer.getvalue()


def _results(comparison: Comparison) -> Iterator[tuple[str, Any, Any]]:
    for tracks, by_run in comparison.results.items():
        for run in sorted(by_run, key=lambda run: [v.name for v in comparison.plan.variants].index(run.variant)):
            yield from ((tracks, run, result) for result in by_run[run].values())


def comparison_json(comparison: Comparison) -> str:
    """Plan, lengths, summaries of every set and metric."""
    plan = comparison.plan
    variants = [
        {
            "name": variant.name,
            "about": variant.about,
            **asdict(variant.settings),
            "trained": [
                {"seed": run.seed, "rounds": found[0], "seconds": round(found[1], 1)}
                for run in comparison.runs_of(variant.name)
                if (found := comparison.courses[run].end)
            ],
        }
        for variant in plan.variants
    ]
    summaries = {
        tracks: {
            metric: {variant: _row_json(row) for variant, row in rows.items()}
            for metric, rows in comparison.summaries[tracks].items()
        }
        for tracks in comparison.results
    }
    content = {
        "title": plan.title,
        "size": plan.size,
        "base": plan.base.name,
        "variants": variants,
        "summaries": summaries,
        "failures": {run.name: why for run, why in comparison.failures.items()},
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _row_json(row: Row) -> dict[str, Any]:
    shown = {"value": row.value, "difference": row.difference}
    found: dict[str, Any] = {
        key: None if e is None else {name: encode_number(value) for name, value in asdict(e).items()}
        for key, e in shown.items()
    }
    return {**found, "tracks": row.tracks, "seeds": row.seeds, "above": row.above, "pairs": row.pairs}
