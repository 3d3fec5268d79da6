"""Tables as Parquet files, by pyarrow: an optional package.

Pyarrow rather than pandas, which would hold the whole table, and turn whole numbers with gaps into floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GROUP_ROWS = 10_000  # rows of a Parquet row group, and in memory at a time


def require_pyarrow(what: str) -> None:
    """Raises UserError if pyarrow is missing, before hours of work; ``what`` is to be written."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError(f"{what} is a Parquet file, which needs pyarrow; run: pip install 'ear-sat[parquet]'") from None


@contextmanager
def parquet_writer(path: Path, columns: Mapping[str, str]) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Yields a function that adds rows to the file; a row is a dict, and what it lacks is empty.

    Args:
        path: the file.
        columns: name → type, by its name in pyarrow.
    """
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in columns.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(rows: list[dict[str, Any]]) -> None:
            table = {name: [row.get(name) for row in rows] for name in columns}
            writer.write_table(pyarrow.table(table, schema=schema))

        yield write


def write_parquet(path: Path, columns: Mapping[str, str], rows: Iterable[dict[str, Any]]) -> None:
    """Writes any number of rows to ``path``; see :func:`parquet_writer`."""
    iterator = iter(rows)
    with parquet_writer(path, columns) as write:
        while group := list(islice(iterator, GROUP_ROWS)):
            write(group)
