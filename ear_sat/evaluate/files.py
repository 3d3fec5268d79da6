"""What an evaluation leaves on disk beside the page: results.json, results.csv, results.md."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import write_text
from ..metrics import METRICS
from ..report.tables import markdown_table
from .cache import measured_with
from .engine import Evaluation
from .loading import SAMPLE_RATE
from .measure import encode_number
from .paper import CAVEAT, PUBLISHED
from .rates import COLUMNS, markdown_rates, rate_cells
from .summary import CONFIDENCE, REPLICATES, Summary
from .tables import Summaries, markdown_published, markdown_summary

NAMED_PAIRS = 3
"""Pairs that are named beside a note; of more, only the number is given."""


def write_results(evaluation: Evaluation, out: Path, paper_table: bool) -> None:
    """Writes the three files into ``out``, each atomically."""
    write_text(out / "results.json", json.dumps(results_json(evaluation, paper_table), indent=1, ensure_ascii=False))
    write_text(out / "results.csv", results_csv(evaluation))
    write_text(out / "results.md", results_markdown(evaluation, paper_table))


def results_json(evaluation: Evaluation, paper_table: bool) -> dict[str, Any]:
    """Everything, as plain values: undefined is null, infinity "inf"."""
    data: dict[str, Any] = {
        "settings": {
            "reference": str(evaluation.reference),
            "estimates": {system: str(path) for system, path in evaluation.estimates.items()},
            "sample_rate": SAMPLE_RATE,
            "align": evaluation.align,
            "bootstrap": {"seed": evaluation.seed, "replicates": REPLICATES, "confidence": CONFIDENCE},
        },
        "versions": measured_with(),
        "metrics": {
            name: {
                "label": metric.label,
                "unit": metric.unit,
                "description": metric.description,
                "higher_is_better": metric.higher_is_better,
                "frozen": metric.frozen,
            }
            for name, metric in METRICS.items()
        },
        "systems": {
            system: {
                "path": str(path),
                **({"codec": evaluation.codecs[system].to_json()} if system in evaluation.codecs else {}),
                "measured": len(evaluation.measured(system)),
                "failed": sum(result.system == system for result in evaluation.failures),
                "without_estimate": sum(
                    u.system == system and u.side == "reference" for u in evaluation.pairing.unmatched
                ),
                "without_reference": sum(
                    u.system == system and u.side == "estimate" for u in evaluation.pairing.unmatched
                ),
            }
            for system, path in evaluation.estimates.items()
        },
        "shared_files": evaluation.shared,
        "summaries": _summaries_json(evaluation.summaries),
        "own_summaries": _summaries_json(evaluation.own_summaries),
        "files": [result.to_json() for result in evaluation.results],
        "unmatched": [{**asdict(entry), "path": str(entry.path)} for entry in evaluation.pairing.unmatched],
        "notes": evaluation.pairing.notes,
    }
    if paper_table:
        data["published"] = {"caveat": CAVEAT, "rows": [asdict(row) for row in PUBLISHED]}
    return data


def results_csv(evaluation: Evaluation) -> str:
    """One row per pair, an empty cell where a metric is undefined; unmatched files follow with their reason."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["file", "system", *METRICS, "seconds", "offset", "notes", "error", "reference", "estimate", *COLUMNS]
    )
    for result in evaluation.results:
        values = [_csv_number(result.values.get(name, math.nan)) for name in METRICS]
        offset = "" if result.offset is None else result.offset
        texts = ["; ".join(result.notes), result.error or "", result.reference, result.estimate]
        rates = rate_cells(evaluation.codecs, result.system)
        writer.writerow([result.file, result.system, *values, _csv_number(result.seconds), offset, *texts, *rates])
    for entry in evaluation.pairing.unmatched:
        paths = [entry.path, ""] if entry.side == "reference" else ["", entry.path]
        rates = rate_cells(evaluation.codecs, entry.system)
        writer.writerow(
            ["", entry.system, *([""] * len(METRICS)), "", "", "", f"unmatched: {entry.reason}", *paths, *rates]
        )
    return buffer.getvalue()


def results_markdown(evaluation: Evaluation, paper_table: bool) -> str:
    """Summary tables with marks and intervals, the published figures, failures and notes."""
    systems = evaluation.systems
    parts = ["# Evaluation", markdown_counts(evaluation)]
    if note := evaluation.sharing_note():
        parts.append(f"Note: {note}.")
    parts.append(markdown_summary(evaluation.summaries, systems))
    parts += markdown_rates(evaluation.codecs)
    if paper_table:
        parts.append(markdown_published(evaluation.summaries, systems))
    rows = [[result.file, result.system, result.error] for result in evaluation.failures]
    rows += [[str(entry.path), entry.system, entry.reason] for entry in evaluation.pairing.unmatched]
    if rows:
        parts += ["## Failed and unmatched", markdown_table(["file", "system", "reason"], rows)]
    lines = [f"- {note}" + (f" ({where})" if where else "") for note, where in noted(evaluation)]
    if lines:
        parts += ["## Notes", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def markdown_counts(evaluation: Evaluation) -> str:
    """Which systems, how many files."""
    rows = [
        [
            system,
            str(path),
            len(evaluation.measured(system)),
            sum(result.system == system for result in evaluation.failures),
            sum(entry.system == system for entry in evaluation.pairing.unmatched),
        ]
        for system, path in evaluation.estimates.items()
    ]
    return markdown_table(["system", "path", "measured", "failed", "unmatched"], rows)


def noted(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Every different note and which pairs have it, most frequent first; notes about folders have no pairs."""
    pairs: dict[str, list[str]] = {}
    for result in evaluation.results:
        for note in result.notes:
            pairs.setdefault(note, []).append(f"{result.file}, {result.system}")
    frequent = sorted(pairs.items(), key=lambda item: -len(item[1]))
    texts = [(note, "; ".join(who) if len(who) <= NAMED_PAIRS else f"{len(who)} pairs") for note, who in frequent]
    return [*texts, *((note, "") for note in evaluation.pairing.notes)]


def _summaries_json(summaries: Summaries) -> dict[str, Any]:
    return {
        name: {system: _summary_json(summary) for system, summary in by_system.items()}
        for name, by_system in summaries.items()
    }


def _summary_json(summary: Summary) -> dict[str, Any]:
    return {
        **asdict(summary),
        "mean": encode_number(summary.mean),
        "low": encode_number(summary.low),
        "high": encode_number(summary.high),
    }


def _csv_number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
