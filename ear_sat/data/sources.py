"""The entries of ``datasets`` in a dataset JSON: a folder or a manifest, its weight, its metadata module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import check_keys
from ..errors import UserError
from .finding import SUFFIXES, find_audio_files
from .manifest import read_manifest
from .metadata import CustomMetadata
from .parts import UnusableFileError
from .reading import open_header
from .stream import AudioFile

ENTRY_KEYS = ("id", "path", "manifest", "decisions", "weight", "custom_metadata_module")


@dataclass(frozen=True)
class MusicSource:
    """An opened entry: usable files, all below ``root``; ``weight`` is None where none is given."""

    root: Path
    files: Sequence[AudioFile]
    weight: float | None = None
    metadata: CustomMetadata | None = None


def open_source(what: str, entry: object, leave_out: Callable[[str, str], None]) -> MusicSource:
    """Finds the files of one entry; for its keys see :class:`.folder.FolderDataset`.

    Args:
        what: names the entry in messages.
        entry: from the JSON.
        leave_out: called with path and reason for each file that cannot be used.

    Raises:
        UserError: a wrong key or value, or no usable file.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path", entry.get("manifest")), str | Path):
        raise UserError(f'{what} must be {{"id": …, "path": folder}} or {{"id": …, "manifest": file}}, not {entry!r}')
    check_keys(what, entry, ENTRY_KEYS)
    weight, module = entry.get("weight"), entry.get("custom_metadata_module")
    number = weight is None or (isinstance(weight, int | float) and not isinstance(weight, bool))
    if not number or (weight is not None and not 0 < weight < math.inf):
        raise UserError(f"{what}: weight must be a number above 0, not {weight!r}")
    folder = Path(entry["path"]).expanduser() if "path" in entry else None
    if folder is not None and not folder.is_dir():
        raise UserError(f"{what}: no such folder: {folder}; give the path of a folder with audio files")
    if entry.get("manifest") is not None:
        decisions = entry.get("decisions", ["keep"])
        if isinstance(decisions, str) or not isinstance(decisions, Sequence) or not decisions:
            raise UserError(f'{what}: decisions must be a list such as ["keep"], not {decisions!r}')
        manifest = Path(entry["manifest"]).expanduser()
        root, files = read_manifest(manifest, leave_out, folder, [str(decision) for decision in decisions])
    elif folder is not None:
        if "decisions" in entry:
            raise UserError(f"{what}: decisions are those of a manifest; give manifest too, or drop decisions")
        root, files = folder, _folder_files(what, folder, leave_out)
    return MusicSource(root, files, weight, None if module is None else CustomMetadata(str(Path(module).expanduser())))


def _folder_files(what: str, folder: Path, leave_out: Callable[[str, str], None]) -> list[AudioFile]:
    paths = find_audio_files(folder)
    if not paths:
        raise UserError(f"{what}: no audio files in {folder}; looked for {' '.join(SUFFIXES)}, also in its subfolders")
    usable, reasons = [], []
    for path in paths:
        try:
            usable.append(open_header(path))
        except UnusableFileError as error:
            leave_out(path, str(error))
            reasons.append(f"{path}: {error}")
    if not usable:
        count = "its only audio file is" if len(paths) == 1 else f"none of its {len(paths)} audio files is"
        state = "unusable" if len(paths) == 1 else "usable; the first"
        raise UserError(f"{what}: {folder}: {count} {state}: {reasons[0]}")
    return usable
