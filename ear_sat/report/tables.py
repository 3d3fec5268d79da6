"""Tables for the terminal and for Markdown files. One rule for numbers in both."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

MIN_WIDTH = 100  # characters; rich takes 80 for a pipe and cuts cells to fit


def format_cell(value: Any) -> str:
    """Text of one cell: floats with four significant digits and no exponent where it can be helped; no value is n/a.

    >>> [format_cell(value) for value in (12.34567, 0.0123456, 44100.0, 3, float("nan"), None, True, "L")]
    ['12.35', '0.01235', '44100', '3', 'n/a', 'n/a', 'yes', 'L']
    """
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        number = float(value)
        if math.isnan(number):
            return "n/a"
        return f"{number:.0f}" if 1000 <= abs(number) < 1e7 else f"{number:.4g}"
    return str(value)


def _is_numeric(cells: Iterable[Any]) -> bool:
    """Whether a column holds numbers only (missing ones allowed), and so is aligned to the right."""
    present = [cell for cell in cells if cell is not None]
    return bool(present) and all(isinstance(cell, numbers.Real) and not isinstance(cell, bool) for cell in present)


def _check_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells under {len(columns)} columns: {list(row)}")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    notes: Iterable[str] = (),
) -> None:
    """Prints a table to standard output, with ``notes`` as lines below it.

    Long cells are folded, never cut. A pipe or a file gets the table in its natural width, without colours.

    Args:
        title: the line above the table; may be empty.
        columns: headings.
        rows: cells, formatted by :func:`format_cell`; columns of numbers are aligned to the right.
        notes: sentences.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    rows = [list(row) for row in rows]
    _check_rows(columns, rows)
    console = Console(highlight=False)
    console.width = max(MIN_WIDTH, console.width)
    table = Table(title=Text(title, style="bold") if title else None, title_justify="left", box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        right = _is_numeric(row[index] for row in rows)
        table.add_column(Text(column), justify="right" if right else "left", overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*(Text(format_cell(cell)) for cell in row))  # Text: rich would read "[0, 1]" as markup
    if not console.is_terminal:
        unbounded = console.options.update(width=100_000)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
    for note in notes:
        console.print(Text(note), soft_wrap=not console.is_terminal)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same table as Markdown, without a title.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.

    >>> print(markdown_table(["codec", "snr_db"], [["ear", 12.3456], ["none", None]]))
    | codec | snr_db |
    | :---- | -----: |
    | ear   |  12.35 |
    | none  |    n/a |
    """
    rows = [list(row) for row in rows]
    _check_rows(columns, rows)
    right = [_is_numeric(row[index] for row in rows) for index in range(len(columns))]
    texts = [[_escape(format_cell(cell)) for cell in row] for row in [list(columns), *rows]]
    widths = [max(3, *(len(row[index]) for row in texts)) for index in range(len(columns))]
    lines = [
        [
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(row, widths, right, strict=True)
        ]
        for row in texts
    ]
    rule = [
        "-" * (width - 1) + ":" if flush else ":" + "-" * (width - 1)
        for width, flush in zip(widths, right, strict=True)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
