"""Rows of tables: CSV, Parquet, or JSON lines (an object in each)."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import UserError

Row = dict[str, Any]
PARQUET, JSON_LINES = (".parquet", ".pq"), (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", *PARQUET, *JSON_LINES)


def read_rows(
    what: str, table: Path, columns: Collection[str], check: Callable[[str, Collection[str]], None]
) -> Iterator[Row]:
    """The rows of ``table``, one after the other.

    Args:
        what: names the table in messages: "the list music.csv".
        table: of one of :data:`TABLE_SUFFIXES`.
        columns: those that are wanted; the rows may have others, too.
        check: called with a name for messages and the columns that there are, before the rows; of JSON lines, which
            may differ from one another, with each line's.

    Raises:
        UserError: it cannot be read, or is none.
    """
    suffix = table.suffix.lower()
    if suffix in PARQUET:
        yield from _parquet(what, table, columns, check)
        return
    try:
        with open_text(what, table, newline="") as file:
            if suffix in JSON_LINES:
                yield from _json_lines(what, file, check)
                return
            reader = csv.DictReader(file)
            check(what, reader.fieldnames or ())
            yield from reader
    except (OSError, csv.Error) as error:
        raise UserError(f"cannot read {what}: {error}") from error


def open_text(what: str, path: Path, newline: str | None = None) -> TextIO:
    """A text file in UTF-8, with or without a byte order mark; names of files in it may be of any bytes.

    Raises:
        UserError: it is UTF-16.
    """
    with path.open("rb") as binary:
        if binary.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise UserError(f"{what} is UTF-16; save it as UTF-8")
    return path.open(newline=newline, encoding="utf-8-sig", errors="surrogateescape")


def _json_lines(what: str, file: TextIO, check: Callable[[str, Collection[str]], None]) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"line {number} of {what} is not JSON: {getattr(error, 'msg', error)}") from error
        if not isinstance(row, dict):
            raise UserError(f"line {number} of {what} must be an object, not a {type(row).__name__}")
        check(f"line {number} of {what}", row)
        yield row


def _parquet(
    what: str, table: Path, columns: Collection[str], check: Callable[[str, Collection[str]], None]
) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{what} is a Parquet file, which needs pyarrow; run: pip install 'ear-sat[parquet]', or give a .csv"
        ) from None
    try:
        file = parquet.ParquetFile(table)
        names = file.schema_arrow.names
        check(what, names)
        for batch in file.iter_batches(batch_size=10_000, columns=[name for name in columns if name in names]):
            yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise UserError(f"cannot read {what}: {error}") from error
