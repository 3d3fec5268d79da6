"""The summary as text: for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..metrics import METRICS, Metric
from ..report.tables import markdown_table, print_table
from .paper import CAVEAT, PUBLISHED, PUBLISHED_METRICS, Published
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
            [heading(METRICS[name]), *(_terminal_cell(METRICS[name], by_system[system]) for system in systems)]
            for name, by_system in summaries.items()
            if METRICS[name].frozen == frozen
        ]
        print_table(title, ["metric", *systems], rows, () if frozen else (_legend(TERMINAL_LEGEND, systems), *notes))


def markdown_summary(summaries: Summaries, systems: Sequence[str]) -> str:
    """Both tables as Markdown, with marks and legend."""
    parts = []
    for frozen, title in TITLES.items():
        rows = [
            [
                heading(METRICS[name]),
                f"`{name}`",
                *(_markdown_cell(METRICS[name], by_system[system]) for system in systems),
            ]
            for name, by_system in summaries.items()
            if METRICS[name].frozen == frozen
        ]
        parts += [f"## {title}", markdown_table(["metric", "name", *systems], rows)]
    parts.append(_legend(f"Mean over files [95 % bootstrap interval]. {MARKDOWN_LEGEND}", systems))
    return "\n\n".join(parts)


def published_rows(summaries: Summaries, systems: Sequence[str]) -> list[list[str]]:
    """The paper's table below the figures measured here: music, codec, and a text for each of the metrics."""
    here = [
        [HERE, system, *(format_value(METRICS[name], summaries[name][system].mean) for name in PUBLISHED_METRICS)]
        for system in systems
    ]
    return here + [
        [row.music, row.system, *(_published_text(row, name) for name in PUBLISHED_METRICS)] for row in PUBLISHED
    ]


def published_columns() -> list[str]:
    """Headings of :func:`published_rows`."""
    return ["music", "codec", *(heading(METRICS[name]) for name in PUBLISHED_METRICS)]


def print_published(summaries: Summaries, systems: Sequence[str]) -> None:
    """Prints the paper's table, and the means measured here above it."""
    sources = dict.fromkeys(row.source for row in PUBLISHED)
    print_table(f"Published figures ({CAVEAT})", published_columns(), published_rows(summaries, systems), sources)


def markdown_published(summaries: Summaries, systems: Sequence[str]) -> str:
    """The same as Markdown."""
    sources = "; ".join(dict.fromkeys(row.source for row in PUBLISHED))
    table = markdown_table(published_columns(), published_rows(summaries, systems))
    return f"## Published figures ({CAVEAT})\n\n{table}\n\nSources: {sources}."


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


def _published_text(row: Published, name: str) -> str:
    """A published figure with as many decimals as the most precise one of its metric and source."""
    if name not in row.values:
        return ""
    column = [other.values[name] for other in PUBLISHED if other.source == row.source and name in other.values]
    return f"{row.values[name]:.{max(len(repr(value).partition('.')[2]) for value in column)}f}"
