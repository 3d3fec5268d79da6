"""A table of results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table with a title and sentences below it; cells are text, numbers, or None.

    ``printed`` is False where a table is long and stands in the files only.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[Any]]
    notes: tuple[str, ...] = ()
    printed: bool = True
