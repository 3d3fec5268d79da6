"""What became of each file, kept as it happens, and as a table: of all runs and ranks that wrote into one folder."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_path
from ..json_lines import JsonLines, read_lines
from ..parquet import require_pyarrow, write_parquet
from .files import FileJob
from .streaming import Result

FOLDER = ".ear-sat"  # hidden: the folder is one of music
COLUMNS = {
    "file": "string",
    "source": "string",
    "output": "string",
    "outcome": "string",  # done, failed, skipped (there before the table was kept), or missing: not yet its turn
    "seconds": "float64",  # of audio
    "elapsed": "float64",  # seconds of work
    "peak_db": "float64",  # dBFS, before any clipping or scaling
    "notes": "string",
}
SUFFIXES = (".csv", ".parquet")


def check_table(path: Path) -> None:
    """Raises UserError unless ``path`` names a table that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--table {path}: give a name that ends with {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".parquet":
        require_pyarrow(path.name)


@contextmanager
def kept_results(out: Path, rank: int = 0) -> Iterator[Callable[[Result], None]]:
    """Yields a function that keeps what became of a file; it is on the disk when the function returns."""
    with JsonLines(out / FOLDER / f"{rank}.jsonl") as lines:
        yield lambda result: lines.append(_row(result))


def write_table(path: Path, out: Path, jobs: Sequence[FileJob]) -> None:
    """Writes one row per job to ``path``: the last thing that any run into ``out`` has kept of it."""
    wanted = {str(job.output): job for job in jobs}
    rows: dict[str, dict[str, Any]] = {}
    for file in sorted((out / FOLDER).glob("*.jsonl")):
        for row in read_lines(file):
            known = rows.get(row.get("output", ""))
            if row.get("output") in wanted and (
                known is None or row["outcome"] == "done" or known["outcome"] != "done"
            ):
                rows[row["output"]] = row
    table = [
        rows.get(output, _row(Result(job, "skipped" if job.output.exists() else "missing")))
        for output, job in wanted.items()
    ]
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            write_parquet(temporary, COLUMNS, table)
            return
        with temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as text:
            writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def _row(result: Result) -> dict[str, Any]:
    done = result.outcome == "done"
    return {
        "file": result.job.name,
        "source": str(result.job.source),
        "output": str(result.job.output),
        "outcome": result.outcome,
        "seconds": result.seconds if done else None,
        "elapsed": result.elapsed if done else None,
        "peak_db": result.peak_db,
        "notes": "; ".join(result.notes),
    }
