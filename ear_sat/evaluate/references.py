"""Scores of other systems to hold one's own against. Most were measured elsewhere, on other music: context, no ranking.

They stand in ``docs/results.csv``, which comes with the package; a file of one's own has the same columns.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config import choice_error
from ..errors import UserError
from ..metrics import KNOWN
from .engine import Evaluation

NAME = "results.csv"
CAVEAT = "figures on other music do not compare strictly"
COLUMNS = ("system", "music", "files", "measured_by", "source")
SHOWN = ("si_sdr_db", "stft_distance", "mel_distance", "icpc", "ccpc", "true_peak_diff_db")
"""The metrics of the tables, in our order: those of the paper."""
OWN = "this run"
PAPER = ("the authors", "the authors, later")
"""Who measured what the paper's table shows."""


@dataclass(frozen=True)
class Reference:
    """One row: a system on some music.

    Attributes:
        system, music: names.
        files: how many; None where that was not said.
        measured_by: who did.
        source: where the figures stand.
        values: metric → value as it was published, coherences as shares of 1.
    """

    system: str
    music: str
    files: int | None
    measured_by: str
    source: str
    values: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values, those of the metrics as numbers."""
        return {**asdict(self), "values": {name: float(value) for name, value in self.values.items()}}


def packaged_results() -> Path:
    """The file that comes with ear_sat: in a wheel below the package, in a checkout in ``docs``."""
    package = Path(__file__).parents[1]
    installed = package / "docs" / NAME
    return installed if installed.is_file() else package.parent / "docs" / NAME


def read_references(path: Path) -> list[Reference]:
    """Reads a table of scores; ``results.csv`` is the packaged one where there is no such file.

    Raises:
        UserError: it is no such table, or a value is no number.
    """
    if not path.exists() and str(path) == NAME:
        path = packaged_results()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; give a CSV file with the columns of {NAME}") from None
    if not rows:
        raise UserError(f"{path} has no rows; give a CSV file with the columns of {NAME}")
    missing = [name for name in COLUMNS if name not in rows[0]]
    if missing:
        raise UserError(f"{path} has no column {missing[0]}; it needs {', '.join(COLUMNS)} and metrics")
    for name in rows[0]:
        if name not in COLUMNS and name not in KNOWN:
            raise UserError(f"{path}: {choice_error('column', str(name), [*COLUMNS, *KNOWN])}")
    return [_reference(path, line, row) for line, row in enumerate(rows, start=2)]


def _reference(path: Path, line: int, row: dict[str, str | None]) -> Reference:
    cells = {name: (value or "").strip() for name, value in row.items()}
    values = {name: cells[name] for name in cells if name in KNOWN and cells[name]}
    files = cells["files"]
    if files and not files.isdecimal():
        raise UserError(f"{path}, line {line}: files must be a whole number or empty, not {files}")
    for name, value in values.items():
        try:
            float(value)
        except ValueError:
            raise UserError(f"{path}, line {line}: {name} must be a number or empty, not {value}") from None
    texts = (cells["measured_by"], cells["source"])
    return Reference(cells["system"], cells["music"], int(files) if files else None, *texts, values)


def paper_references() -> list[Reference]:
    """What the authors of εar-VAE have published."""
    return [row for row in read_references(packaged_results()) if row.measured_by in PAPER]


def beside(evaluation: Evaluation, references: Sequence[Reference]) -> list[Reference]:
    """The systems of ``evaluation``, and then ``references``."""
    own = []
    for system in evaluation.systems:
        summaries = {name: by_system[system] for name, by_system in evaluation.summaries.items()}
        values = {
            name: f"{summaries[name].mean:.{2 if KNOWN[name].unit else 4}f}"
            for name in SHOWN
            if not math.isnan(summaries[name].mean)
        }
        count = len(evaluation.shared) or len(evaluation.measured(system))
        own.append(Reference(system, evaluation.reference.name, count, OWN, "", values))
    return [*own, *references]
