"""The manifest: one row per track, as Parquet for programs and as CSV to look at."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..files import atomic_path
from ..parquet import GROUP_ROWS, parquet_writer
from .measurement import Row

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


def write_manifest(folder: Path, rows: Iterable[Row]) -> None:
    """Writes ``manifest.parquet`` and ``manifest.csv`` into ``folder``; each replaces the old one when it is complete.

    Args:
        folder: must exist.
        rows: any number of them, with the keys of :data:`COLUMNS`; missing ones are empty.
    """
    with (
        atomic_path(folder / "manifest.parquet") as parquet_file,
        atomic_path(folder / "manifest.csv") as csv_file,
        parquet_writer(parquet_file, COLUMNS) as write_group,
        csv_file.open("w", newline="", encoding="utf-8") as text,
    ):
        table = csv.writer(text)
        table.writerow(COLUMNS)
        group: list[Row] = []
        for row in rows:
            table.writerow([_csv_cell(row.get(name)) for name in COLUMNS])
            group.append(row)
            if len(group) == GROUP_ROWS:
                write_group(group)
                group = []
        if group:
            write_group(group)


def _csv_cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
