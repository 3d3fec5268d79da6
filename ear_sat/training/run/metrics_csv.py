"""The numbers of a run in one CSV file that grows by rows and by columns and survives a kill."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...errors import UserError
from ...files import atomic_path

STEP = "step"


class MetricsCsv:
    """Appends rows to a CSV file with a ``step`` column and one column per key; missing values are empty cells.

    Opening an existing file drops what a killed writer left unfinished: the text after the last line break, and lines
    that are no rows.

    Args:
        path: the file; it is made by the first row.

    Raises:
        UserError: the file is there but is not such a CSV, or cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     metrics = MetricsCsv(Path(folder, "metrics.csv"))
    ...     metrics.append({"step": 1, "train/loss": 0.5})
    ...     metrics.append({"step": 2, "train/loss": 0.25, "val/snr_db": 12.0})
    ...     metrics.path.read_text().split()
    ['step,train/loss,val/snr_db', '1,0.5,', '2,0.25,12.0']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.columns, rows, intact = _parse(self.path)
        if not intact:
            self._rewrite(rows, self.columns)

    def append(self, row: Mapping[str, float]) -> None:
        """Adds one row ``{"step": int, key: value, …}``; several rows may have the same step.

        Raises:
            ValueError: the row has no step, or a key is empty or has a line break in it.
            UserError: the file cannot be written; it is then as it was before.
        """
        if STEP not in row:
            raise ValueError(f"a metrics row needs a '{STEP}': {dict(row)}")
        for key in row:
            if not key or len(key.splitlines()) != 1:
                raise ValueError(f"a metrics key must be one line of text, not {key!r}")
        cells = {key: repr(int(value) if key == STEP else float(value)) for key, value in row.items()}
        new = [key for key in row if key != STEP and key not in self.columns]
        if new or not self.columns:
            _, rows, _ = _parse(self.path)
            columns = [*(self.columns or [STEP]), *new]
            self._rewrite([*rows, cells], columns)
            self.columns = columns
        else:
            self._append_line(_lines(self.columns, [cells]))

    def trim_after(self, step: int) -> int:
        """Removes the rows later than ``step``, as a run resumed there will write them again; returns their number.

        Columns stay, even empty ones.
        """
        _, rows, _ = _parse(self.path)
        kept = [row for row in rows if int(row[STEP]) <= step]
        if len(kept) < len(rows):
            self._rewrite(kept, self.columns)
        return len(rows) - len(kept)

    @staticmethod
    def read(path: str | Path) -> dict[str, list[tuple[int, float]]]:
        """Every key's ``(step, value)`` pairs in the order of writing; changes nothing, so works on a live run.

        Raises:
            UserError: the file is missing or is not such a CSV.
        """
        if not Path(path).is_file():
            raise UserError(f"no such file: {path}; give the metrics.csv of a run")
        columns, rows, _ = _parse(Path(path))
        series: dict[str, list[tuple[int, float]]] = {key: [] for key in columns if key != STEP}
        for row in rows:
            for key, points in series.items():
                if row.get(key):
                    points.append((int(row[STEP]), float(row[key])))
        return series

    def _append_line(self, line: str) -> None:
        try:
            with self.path.open("r+b", buffering=0) as file:
                end = file.seek(0, io.SEEK_END)
                data = line.encode("utf-8")
                try:
                    written = file.write(data)
                    if written != len(data):  # the disk took a part: the rest says why
                        file.write(data[written:])
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise self._cannot_write(error) from error

    def _rewrite(self, rows: Iterable[Mapping[str, str]], columns: list[str]) -> None:
        try:
            with atomic_path(self.path) as temporary:
                header = [{column: column for column in columns}] if columns else []
                temporary.write_bytes(_lines(columns, [*header, *rows]).encode("utf-8"))
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self.path}: {error.strerror or error}; free some space or make it writable, "
            f"then resume with --resume {self.path.parent}"
        )


def _lines(columns: list[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _parse(path: Path) -> tuple[list[str], list[dict[str, str]], bool]:
    """Columns, rows as text, and whether the file had nothing but these."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], [], True
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    complete, _, rest = data.rpartition(b"\n")
    # A power cut can leave zero bytes, on which the csv module gives up.
    lines = [line for line in complete.decode("utf-8", errors="replace").splitlines() if line]
    sound = [line for line in lines if "\0" not in line]
    table = list(csv.reader(sound))
    if not table:
        return [], [], not data
    columns = table[0]
    if columns[0] != STEP:
        raise UserError(f"{path} is not a metrics file: its first column must be '{STEP}', not {columns[0]!r:.40}")
    rows = [dict(zip(columns, cells, strict=True)) for cells in table[1:] if _is_row(columns, cells)]
    return columns, rows, not rest and len(rows) == len(lines) - 1


def _is_row(columns: list[str], cells: list[str]) -> bool:
    if len(cells) != len(columns):
        return False
    try:
        int(cells[0])
        for cell in cells[1:]:
            float(cell or 0)
    except ValueError:
        return False
    return True
