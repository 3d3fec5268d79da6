"""The summary as text: for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..metrics import KNOWN, METRICS, Metric
from ..report.tables import markdown_table, print_table
from .frechet import FrechetDistance
from .references import CAVEAT, SHOWN, Reference
from .summary import Summary

Summaries = Mapping[str, Mapping[str, Summary]]
"""metric → system → summary."""

HERE = "measured here"
TITLES = {True: "Frozen metrics", False: "Additional metrics"}
MARKDOWN_LEGEND = "**Bold**: best; *italic*: second best; ≈: within chance of the best (paired bootstrap)."
TERMINAL_LEGEND = "* best, + second best, ≈ within chance of the best (paired bootstrap); [95 % interval of the mean]"


def format_value(metric: Metric, value: float) -> str:
    """A value of ``metric``: two decimals where it has a unit, else four.

    >>> format_value(METRICS["si_sdr_db"], 11.5699), format_value(METRICS["icpc"], 0.97987)
    ('11.57', '0.9799')
    >>> format_value(METRICS["icpc"], math.nan), format_value(METRICS["snr_db"], math.inf)
    ('n/a', '∞')
    """
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{2 if metric.unit else 4}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def heading(metric: Metric) -> str:
    """Label, unit and direction.

    >>> heading(METRICS["si_sdr_db"]), heading(METRICS["stft_distance"])
    ('SI-SDR (dB) ↑', 'MS-STFT ↓')
    """
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"


def interval(metric: Metric, summary: Summary) -> str:
    """The confidence interval in brackets, or nothing where there is none."""
    if math.isnan(summary.low):
        return ""
    return f"[{format_value(metric, summary.low)}, {format_value(metric, summary.high)}]"


def print_summary(summaries: Summaries, systems: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Prints a table with one row per metric for the frozen ones, and one for the additional ones with ``notes``."""
    for frozen, title in TITLES.items():
        rows = [
            [heading(KNOWN[name]), *(_terminal_cell(KNOWN[name], by_system[system]) for system in systems)]
            for name, by_system in summaries.items()
            if KNOWN[name].frozen == frozen
        ]
        print_table(title, ["metric", *systems], rows, () if frozen else (_legend(TERMINAL_LEGEND, systems), *notes))


def markdown_summary(summaries: Summaries, systems: Sequence[str]) -> str:
    """Both tables as Markdown, with marks and legend."""
    parts = []
    for frozen, title in TITLES.items():
        rows = [
            [
                heading(KNOWN[name]),
                f"`{name}`",
                *(_markdown_cell(KNOWN[name], by_system[system]) for system in systems),
            ]
            for name, by_system in summaries.items()
            if KNOWN[name].frozen == frozen
        ]
        parts += [f"## {title}", markdown_table(["metric", "name", *systems], rows)]
    parts.append(_legend(f"Mean over files [95 % bootstrap interval]. {MARKDOWN_LEGEND}", systems))
    return "\n\n".join(parts)


def reference_columns() -> list[str]:
    """Headings of :func:`reference_rows`."""
    return ["system", "music", "files", "measured by", *(heading(METRICS[name]) for name in SHOWN)]


def reference_rows(rows: Sequence[Reference]) -> list[list[str]]:
    """One text per cell; metrics with the decimals that they were published with."""
    return [
        [
            row.system,
            row.music,
            "" if row.files is None else str(row.files),
            row.measured_by,
            *(row.values.get(name, "").replace("-", "−") for name in SHOWN),
        ]
        for row in rows
    ]


def reference_note(rows: Sequence[Reference]) -> str:
    """What is to be said of such a table."""
    sources = "; ".join(dict.fromkeys(row.source for row in rows if row.source))
    return f"{CAVEAT[0].upper()}{CAVEAT[1:]}: other files, other loudness, other codecs' rates. Sources: {sources}."


def print_references(rows: Sequence[Reference]) -> None:
    """Prints scores of other systems, those measured among them."""
    print_table(f"Beside other scores ({CAVEAT})", reference_columns(), reference_rows(rows), [reference_note(rows)])


def markdown_references(rows: Sequence[Reference]) -> str:
    """The same table as Markdown."""
    table = markdown_table(reference_columns(), reference_rows(rows))
    return f"## Beside other scores\n\n{table}\n\n{reference_note(rows)}"


FRECHET_COLUMNS = (
    "system",
    "embedding",
    "FAD ↓",
    "files",
    "embeddings of references, of estimates",
    "dimension",
    "note",
)


def frechet_rows(distances: Sequence[FrechetDistance]) -> list[list[object]]:
    """One row per system, under :data:`FRECHET_COLUMNS`."""
    return [
        [d.system, d.model, d.value, d.files, "{}, {}".format(*d.embeddings), d.dimension, d.note] for d in distances
    ]


def _legend(text: str, systems: Sequence[str]) -> str:
    """Marks are only explained where there are any: between several systems."""
    return text if len(systems) > 1 else "mean over files, [95 % bootstrap interval of the mean]"


def _terminal_cell(metric: Metric, summary: Summary) -> str:
    mark = {1: "*", 2: "+"}.get(summary.rank or 0, "") + ("≈" if summary.tied else "")
    count = f" ({summary.undefined} n/a)" if summary.undefined and summary.files else ""
    return f"{format_value(metric, summary.mean)}{mark} {interval(metric, summary)}{count}".strip()


def _markdown_cell(metric: Metric, summary: Summary) -> str:
    text = format_value(metric, summary.mean)
    text = {1: f"**{text}**", 2: f"*{text}*"}.get(summary.rank or 0, text) + (" ≈" if summary.tied else "")
    count = f" ({summary.undefined} n/a)" if summary.undefined and summary.files else ""
    return f"{text} {interval(metric, summary)}{count}".strip()
