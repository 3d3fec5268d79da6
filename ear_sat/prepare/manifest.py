"""The manifest: one row per track, as Parquet for programs and as CSV to look at."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import atomic_path
from .measurement import Row

if TYPE_CHECKING:
    import pyarrow

#: Columns and their types, by their names in pyarrow; what is undefined for a track is empty.
COLUMNS = {
    "path": "string",  # absolute; shard.tar::name for a member of a shard
    "sha256": "string",  # of the file's bytes
    "bytes": "int64",
    "container": "string",  # what the file is, whatever its name says: WAV, FLAC, MP3, OGG, …
    "encoding": "string",  # PCM_16, FLOAT, VORBIS, …
    "sample_rate": "int64",  # native, in Hz
    "channels": "int64",
    "frames": "int64",  # samples per channel, counted by decoding
    "duration": "float64",  # in seconds
    "loudness_lufs": "float64",  # integrated, BS.1770-4
    "loudness_range_lu": "float64",  # EBU Tech 3342
    "true_peak_dbtp": "float64",  # BS.1770-4, annex 2
    "sample_peak_dbfs": "float64",
    "clipped_runs": "int64",  # of at least 3 samples at full scale
    "silence_share": "float64",  # of the tenths of a second, 0 to 1
    "dc": "float64",  # mean of the samples, full scale 1, of the worst channel
    "dual_mono": "bool_",  # stereo only
    "mid_side_ratio_db": "float64",  # energies, within ±120; stereo only
    "bandwidth_hz": "float64",  # highest frequency with content
    "decision": "string",  # see rules.DECISIONS
    "reason": "string",  # names of rules.REASONS, in order, joined by ";"
    "error": "string",
}
GROUP_ROWS = 10_000  # rows of a Parquet row group, and in memory at a time


def require_pyarrow() -> None:
    """Raises UserError if pyarrow is missing, before hours of work."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError(
            "the manifest is a Parquet file, which needs pyarrow; run: pip install 'ear-sat[parquet]'"
        ) from None


def write_manifest(folder: Path, rows: Iterable[Row]) -> None:
    """Writes ``manifest.parquet`` and ``manifest.csv`` into ``folder``; each replaces the old one when it is complete.

    Pyarrow rather than pandas, which would hold the whole table, and turn whole numbers with gaps into floats.

    Args:
        folder: must exist.
        rows: any number of them, with the keys of :data:`COLUMNS`; missing ones are empty.
    """
    with (
        atomic_path(folder / "manifest.parquet") as parquet_file,
        atomic_path(folder / "manifest.csv") as csv_file,
        _parquet_writer(parquet_file) as parquet,
        csv_file.open("w", newline="", encoding="utf-8") as text,
    ):
        table = csv.writer(text)
        table.writerow(COLUMNS)
        group: list[Row] = []
        for row in rows:
            table.writerow([_csv_cell(row.get(name)) for name in COLUMNS])
            group.append(row)
            if len(group) == GROUP_ROWS:
                _write_group(parquet, group)
                group = []
        if group:
            _write_group(parquet, group)


@contextmanager
def _parquet_writer(path: Path) -> Iterator[pyarrow.parquet.ParquetWriter]:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        yield writer


def _write_group(writer: Any, rows: list[Row]) -> None:
    import pyarrow

    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    writer.write_table(pyarrow.table(columns, schema=writer.schema))


def _csv_cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
