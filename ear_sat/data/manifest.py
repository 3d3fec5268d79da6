"""Manifests: tables of audio files that save opening every file to learn its length."""

from __future__ import annotations

import logging
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .finding import why_no_audio
from .parts import UnusableFileError
from .reading import check_usable
from .rows import TABLE_SUFFIXES, Row, read_rows
from .stream import AudioFile

logger = logging.getLogger(__name__)

#: Columns that are read, where they exist; further ones are left alone.
COLUMNS = ("path", "frames", "duration", "sample_rate", "channels", "decision")
SHARD_SUFFIX = ".tar"
_MEMBER = re.compile(rf"(.*?{re.escape(SHARD_SUFFIX)})::(.*)", re.IGNORECASE | re.DOTALL)


def split_path(path: str) -> tuple[str, str]:
    """The file of a track, and its name inside that file; empty for a file of its own.

    >>> split_path("/a/0.tar::x/y.flac"), split_path("/a/y.flac")
    (('/a/0.tar', 'x/y.flac'), ('/a/y.flac', ''))
    """
    found = _MEMBER.fullmatch(path)
    return (found[1], found[2]) if found else (path, "")


def read_manifest(
    manifest: Path,
    leave_out: Callable[[str, str], None],
    folder: Path | None = None,
    decisions: Sequence[str] = ("keep",),
) -> tuple[Path, list[AudioFile]]:
    """The files of a manifest that are to be used; members of shards (``0.tar::a.flac``) are none.

    Args:
        manifest: ``.csv``, ``.parquet`` or ``.jsonl`` (an object per line) with ``path``, ``frames`` (samples per
            channel) or ``duration`` (seconds), ``sample_rate`` (Hz) and ``channels``, and optionally ``decision``.
        leave_out: called with path and reason for a row whose file cannot be used.
        folder: what relative paths start from; by default the manifest's own folder.
        decisions: rows with another decision are not used; without that column all are.

    Returns:
        a folder that holds all files of the manifest, used or not (``folder``, if it does), and the files to use.

    Raises:
        UserError: no such file, a missing column, or no row to use.
    """
    if not manifest.is_file():
        raise UserError(f"no such manifest: {manifest}; give the path of a .csv, .parquet or .jsonl file")
    if manifest.suffix.lower() not in TABLE_SUFFIXES:
        why = why_no_audio(manifest)
        raise UserError(f"a manifest must be a .csv, .parquet or .jsonl file, not {manifest}{why and f': {why}'}")
    start = os.path.abspath(manifest.parent if folder is None else folder)  # noqa: PTH100 - removes ".." as well
    skipped: Counter[str] = Counter()
    files, members, first, last = [], 0, "", ""
    for row in read_rows(f"the manifest {manifest}", manifest, COLUMNS, _check_columns):
        if split_path(str(row["path"]))[1]:
            members += 1
            continue
        path = os.path.normpath(os.path.join(start, str(row["path"])))  # noqa: PTH118 - an absolute path stays
        holder = os.path.dirname(path) + os.sep  # noqa: PTH120
        first, last = min(first or holder, holder), max(last, holder)
        decision = row.get("decision", decisions[0])
        if decision not in decisions:
            skipped[str(decision)] += 1
            continue
        try:
            files.append(_file(path, row))
        except UnusableFileError as error:
            leave_out(path, str(error))
    if skipped:
        words = ", ".join(f"{count} '{decision}'" for decision, count in skipped.most_common())
        logger.info("%s: rows not used: %s", manifest, words)
    if members:
        logger.info("%s: %d rows not used: they lie in shards", manifest, members)
    if not files:
        why = f"; their decisions: {', '.join(skipped)}" if skipped else ""
        if members:
            why += f"; {members} lie in shards, which ear_audio cannot read: write new ones with prepare-data --shards"
        raise UserError(f"{manifest} has no usable row with the decision {' or '.join(decisions)}{why}")
    # All folders lie between the least and the greatest, so one that holds these two holds all.
    root = Path(os.path.commonpath([first, last]))
    return Path(start) if folder is not None and root.is_relative_to(start) else root, files


def _check_columns(what: str, names: Collection[str]) -> None:
    missing = [name for name in ("path", "sample_rate", "channels") if name not in names]
    if "frames" not in names and "duration" not in names:
        missing.append("frames (or duration)")
    if missing:
        raise UserError(f"{what} lacks the column {', '.join(missing)}; it has {', '.join(names)}")


def _file(path: str, row: Row) -> AudioFile:
    rate, channels, frames = (_number(row.get(name)) for name in ("sample_rate", "channels", "frames"))
    if frames is None:
        seconds = _number(row.get("duration"))
        frames = None if seconds is None or rate is None else seconds * rate
    if rate is None or channels is None or frames is None or rate < 1:
        raise UnusableFileError("its row of the manifest lacks the length, sample rate or channels")
    file = AudioFile(path, round(frames), round(rate), round(channels))
    check_usable(file)
    return file


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
