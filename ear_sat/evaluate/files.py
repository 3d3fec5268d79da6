"""What an evaluation leaves on disk beside the page: results.json, results.csv, results.md."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import atomic_path, write_text
from ..parquet import write_parquet
from ..report.tables import markdown_table
from .engine import Evaluation
from .loading import SAMPLE_RATE
from .measure import encode_number
from .provenance import measured_with
from .rates import COLUMNS, markdown_rates, rates_of
from .references import CAVEAT, Reference, beside
from .summary import CONFIDENCE, REPLICATES, Summary
from .tables import FRECHET_COLUMNS, Summaries, frechet_rows, markdown_references, markdown_summary

NAMED_PAIRS = 3
"""Pairs that are named beside a note; of more, only the number is given."""


def write_results(evaluation: Evaluation, out: Path, references: Sequence[Reference], parquet: bool) -> None:
    """Writes the files into ``out``, each atomically: three, or with ``parquet`` four."""
    write_text(out / "results.json", json.dumps(results_json(evaluation, references), indent=1, ensure_ascii=False))
    write_text(out / "results.csv", results_csv(evaluation))
    write_text(out / "results.md", results_markdown(evaluation, references))
    if parquet:
        with atomic_path(out / "results.parquet") as temporary:
            write_parquet(temporary, results_columns(evaluation), results_rows(evaluation))


def results_json(evaluation: Evaluation, references: Sequence[Reference] = ()) -> dict[str, Any]:
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
            for name, metric in evaluation.metrics.items()
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
        "frechet": [{**asdict(distance), "value": encode_number(distance.value)} for distance in evaluation.frechet],
        "files": [result.to_json() for result in evaluation.results],
        "unmatched": [{**asdict(entry), "path": str(entry.path)} for entry in evaluation.pairing.unmatched],
        "notes": evaluation.pairing.notes,
    }
    if references:
        data["references"] = {"caveat": CAVEAT, "rows": [row.to_json() for row in beside(evaluation, references)]}
    return data


def results_columns(evaluation: Evaluation) -> dict[str, str]:
    """Name → type, as pyarrow calls it, of the columns of :func:`results_rows`."""
    metrics, rates = dict.fromkeys(evaluation.metrics, "float64"), dict.fromkeys(COLUMNS, "float64")
    texts = dict.fromkeys(("notes", "error", "reference", "estimate"), "string")
    return {"file": "string", "system": "string", **metrics, "seconds": "float64", "offset": "int64", **texts, **rates}


def results_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row per pair, without what is undefined; unmatched files follow with their reason."""
    for result in evaluation.results:
        numbers = {**result.values, "seconds": result.seconds}
        row: dict[str, Any] = {name: value for name, value in numbers.items() if not math.isnan(value)}
        row |= {"file": result.file, "system": result.system, "offset": result.offset, "error": result.error}
        row |= {"notes": "; ".join(result.notes), "reference": result.reference, "estimate": result.estimate}
        yield row | rates_of(evaluation.codecs, result.system)
    for entry in evaluation.pairing.unmatched:
        row = {"system": entry.system, "error": f"unmatched: {entry.reason}", entry.side: str(entry.path)}
        yield row | rates_of(evaluation.codecs, entry.system)


def results_csv(evaluation: Evaluation) -> str:
    """:func:`results_rows` as CSV, with empty cells for what is undefined."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(results_columns(evaluation)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(results_rows(evaluation))
    return buffer.getvalue()


def results_markdown(evaluation: Evaluation, references: Sequence[Reference] = ()) -> str:
    """Summary tables with marks and intervals, the published figures, failures and notes."""
    systems = evaluation.systems
    parts = ["# Evaluation", markdown_counts(evaluation)]
    if note := evaluation.sharing_note():
        parts.append(f"Note: {note}.")
    parts.append(markdown_summary(evaluation.summaries, systems))
    parts += markdown_rates(evaluation.codecs)
    if evaluation.frechet:
        parts += ["## Fréchet audio distance", markdown_table(FRECHET_COLUMNS, frechet_rows(evaluation.frechet))]
    if references:
        parts.append(markdown_references(beside(evaluation, references)))
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
