"""What the answers of all listeners say: tables to print, and the files of results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import disk_errors, make_folder, write_text
from ..report.tables import markdown_table, print_table
from .abx_tables import abx_tables
from .answers import Answers, merge_answers
from .methods import METHODS
from .mushra_tables import mushra_tables
from .table import Table


@dataclass(frozen=True)
class Results:
    """What came of a test.

    Attributes:
        method, study: of the page.
        listeners: names.
        tables: the first has a row for each version or system.
        raw: a row for each rating, or for each pair of ABX.
        notes: sentences about files and listeners.
    """

    method: str
    study: str
    listeners: list[str]
    tables: list[Table]
    raw: Table
    notes: list[str]

    def print(self) -> None:
        """Prints tables and notes."""
        for table in filter(lambda table: table.printed, self.tables):
            print_table(table.title, table.columns, table.rows, table.notes)
        for note in self.notes:
            print(f"note: {note}")

    def write(self, out: Path) -> None:
        """Writes listening.json, listening.csv and listening.md into ``out``, each atomically.

        Raises:
            UserError: the folder cannot be made, or the disk is full.
        """
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file; give a folder for the results")
        make_folder(out)
        with disk_errors(out):
            write_text(out / "listening.json", json.dumps(self._json(), indent=1, ensure_ascii=False))
            write_text(out / "listening.csv", self._csv())
            write_text(out / "listening.md", self._markdown())

    def _json(self) -> dict[str, Any]:
        def entries(table: Table) -> list[dict[str, Any]]:
            return [dict(zip(table.columns, row, strict=True)) for row in table.rows]

        return {
            "method": self.method,
            "study": self.study,
            "listeners": self.listeners,
            "tables": {table.title: {"rows": entries(table), "notes": list(table.notes)} for table in self.tables},
            "answers": entries(self.raw),
            "notes": self.notes,
        }

    def _csv(self) -> str:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerows([self.raw.columns, *self.raw.rows])
        return buffer.getvalue()

    def _markdown(self) -> str:
        parts = [f"# {METHODS[self.method].title}"]
        for table in self.tables:
            parts += [f"## {table.title}", markdown_table(table.columns, table.rows), *table.notes]
        if self.notes:
            parts += ["## Notes", "\n".join(f"- {note}" for note in self.notes)]
        return "\n\n".join(parts) + "\n"


def evaluate_answers(answers: Sequence[Answers]) -> Results:
    """Merges the answers of listeners to one test and evaluates them.

    Raises:
        UserError: they do not belong together, or nobody has finished a trial.
    """
    merged, notes = merge_answers(answers)
    if not any(each.done for each in merged):
        raise UserError("nobody has finished a trial; there is nothing to evaluate")
    make = abx_tables if METHODS[merged[0].method].trials else mushra_tables
    tables, raw, more = make(merged)
    names = [each.listener for each in merged]
    return Results(merged[0].method, merged[0].study, names, tables, raw, [*notes, *more])
