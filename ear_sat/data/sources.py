"""The entries of ``datasets`` in a dataset JSON: a folder or a manifest, its weight, its metadata module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checks import require_path
from ..config import build
from ..errors import UserError
from ..value_types import Positive
from .finding import SUFFIXES, find_audio_files, why_no_folder
from .manifest import read_manifest
from .metadata import CustomMetadata
from .parts import UnusableFileError
from .reading import open_header
from .rows import TABLE_SUFFIXES
from .stream import AudioFile


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
    return build(what, open_entry, entry, where=what, leave_out=leave_out)


def open_entry(
    where: str,
    leave_out: Callable[[str, str], None],
    id: str | None = None,  # read by who names the windows
    path: str | Path | None = None,
    manifest: str | Path | None = None,
    decisions: Sequence[str] | None = None,
    weight: Positive | None = None,
    custom_metadata_module: str | Path | None = None,
) -> MusicSource:
    """Opens an entry; its arguments are the entry's keys.

    Args:
        where: names the entry in messages.
        leave_out: called with path and reason for each file that cannot be used.
        id: a name for the entry.
        path: folder of audio files, with its subfolders; with a manifest, where its relative paths start.
        manifest: .csv, .jsonl or .parquet table of files, such as ``prepare-data`` writes: ``path``, ``frames`` or
            ``duration``, ``sample_rate``, ``channels``, ``decision``. No file is opened to learn its length.
        decisions: values of the manifest's column ``decision`` that are used; ``["keep"]`` by default.
        weight: share of the crops relative to the other entries'; without any, every file has an equal share.
        custom_metadata_module: Python file with the host's ``get_custom_metadata(info, audio)``; a true
            ``"__reject__"`` in what it returns rejects the crop.
    """
    folder = None if path is None else require_path(f"{where}.path", path)
    if folder is not None and not folder.is_dir():
        if folder.suffix.lower() in TABLE_SUFFIXES and folder.is_file():
            raise UserError(f'{where}: {folder} is a table; give it as "manifest", not as "path"')
        raise UserError(f"{where}: {folder}: {why_no_folder(folder)}; give the path of a folder with audio files")
    if manifest is not None:
        decisions = ["keep"] if decisions is None else decisions
        if isinstance(decisions, str) or not isinstance(decisions, Sequence) or not decisions:
            raise UserError(f'{where}: decisions must be a list such as ["keep"], not {decisions!r}')
        root, files = read_manifest(
            require_path(f"{where}.manifest", manifest), leave_out, folder, list(map(str, decisions))
        )
    elif decisions is not None:
        raise UserError(f"{where}: decisions are those of a manifest; give manifest too, or drop decisions")
    else:
        assert folder is not None  # one of the two is given
        root, files = folder, _folder_files(where, folder, leave_out)
    metadata = None
    if custom_metadata_module is not None:
        metadata = CustomMetadata(str(require_path(f"{where}.custom_metadata_module", custom_metadata_module)))
    return MusicSource(root, files, weight, metadata)


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
