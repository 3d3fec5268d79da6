"""The page of gpu_check.py: every section's verdict, tables, notes and curves in one file."""

from __future__ import annotations

import math
from typing import Any

from gpu_section import GOOD

from ear_sat.report.html import render
from ear_sat.report.tables import format_cell

#: Plot area of a panel, in the units of its viewBox.
WIDTH, HEIGHT = 300.0, 120.0


def page(content: dict[str, Any]) -> str:
    """The page as text, from the content of the JSON file."""
    settings, sections = content["settings"], content["sections"]
    bad = [f"{name}: {result['reason']}" for name, result in sections.items() if result["status"] not in GOOD]
    size = (
        "in miniature, which shows that everything runs and says nothing of speed" if settings["mini"] else "full size"
    )
    return render(
        "checks.html",
        title="GPU check",
        lead=f"{content['began']}, on {settings['device']}, {size}; {settings['seconds']:g} s for all sections.",
        alerts=bad,
        sections=[_section(name, result) for name, result in sections.items()],
    )


def _section(name: str, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "status": result["status"],
        "good": result["status"] in GOOD,
        "reason": result["reason"],
        "seconds": f"{result['seconds']:.1f}",
        "cap": f"{result.get('cap_seconds', 0):.0f}",
        "notes": result["notes"],
        "tables": [_table(title, rows) for title, rows in result["tables"].items()],
        "panels": [panel(title, lines) for title, lines in result["curves"].items()],
        "traceback": result.get("traceback"),
    }


def _table(title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    values = [[row.get(column) for column in columns] for row in rows]
    numeric = [
        any(isinstance(row[i], int | float) for row in values)
        and all(row[i] is None or (isinstance(row[i], int | float) and not isinstance(row[i], bool)) for row in values)
        for i in range(len(columns))
    ]
    cells = [
        {"bad": row.get("ok") is False, "cells": list(zip(map(format_cell, line), numeric, strict=True))}
        for row, line in zip(rows, values, strict=True)
    ]
    heads = [(column.replace("_", " "), number) for column, number in zip(columns, numeric, strict=True)]
    return {"title": title, "columns": heads, "rows": cells}


def panel(title: str, lines: dict[str, list[float | None]]) -> dict[str, Any]:
    """Lines of one panel in the units of its viewBox; the axis is logarithmic where values spread over 30 times.

    >>> [line["points"] for line in panel("loss", {"32": [2.0, None, 1.0]})["lines"]]
    ['0.0,0.0 300.0,120.0']
    """
    values = [value for line in lines.values() for value in line if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    log = low > 0 and high > 30 * low
    scale = math.log if log else float
    span = (scale(high) - scale(low)) or 1.0
    longest = max((len(line) for line in lines.values()), default=1)
    drawn = []
    for name, line in lines.items():
        at = [
            (WIDTH * index / max(1, longest - 1), HEIGHT * (scale(high) - scale(value)) / span)
            for index, value in enumerate(line)
            if value is not None
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        drawn.append({"name": name, "points": points, "end": at[-1] if at else None, "last": format_cell(line[-1])})
    axis = " (logarithmic)" if log else ""
    return {
        "title": title + axis,
        "low": format_cell(low),
        "high": format_cell(high),
        "rounds": longest,
        "lines": drawn,
    }
