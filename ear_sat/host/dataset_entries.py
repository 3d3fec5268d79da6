"""The entries of the host's own dataset configs: what the host would pass over in silence is refused before it reads.

It takes a folder that is not there for an empty one, an entry of ``wds`` without a path for none, and a file list that
is not there for "all files": the rest of the data would be trained on as if it were everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checks import require_path
from ..data.finding import why_no_folder
from ..data.metadata import CustomMetadata
from ..errors import UserError

FOLDERS, SHARDS = ("audio_dir", "pre_encoded"), ("wds", "s3")


def checked_entries(dataset_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config of one of the host's types with ``~`` in its paths expanded; any other as it is.

    Raises:
        UserError: no entries, an empty path, or a folder or file that does not exist.
    """
    kind, entries = dataset_config.get("dataset_type"), dataset_config.get("datasets")
    if kind not in (*FOLDERS, *SHARDS):
        return dataset_config
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise UserError('"datasets" of the dataset config must be a list of at least one {"id": …, "path": …}')
    return {**dataset_config, "datasets": [_checked(f"datasets[{n}]", kind, e) for n, e in enumerate(entries)]}


def _checked(where: str, kind: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    entry = dict(entry)
    for key in ("custom_metadata_module", "filelist_path"):
        if entry.get(key) is not None:
            file = require_path(f"{where}.{key}", entry[key])
            if not file.is_file():
                raise UserError(f"{where}.{key}: no such file: {file}")
            entry[key] = str(file)
    if kind in SHARDS and "s3_path" in entry:
        require_path(f"{where}.s3_path", entry["s3_path"])
    elif kind in SHARDS:
        entry["path"] = str(require_path(f"{where}.path", entry.get("path")))  # the listing says what is wrong with it
    elif isinstance(entry.get("path"), list):
        entry["path"] = [_folder(f"{where}.path[{n}]", path) for n, path in enumerate(entry["path"])]
    else:
        entry["path"] = _folder(f"{where}.path", entry.get("path"))
    return entry


def _folder(where: str, given: object) -> str:
    path: Path = require_path(where, given)
    if not path.is_dir():
        raise UserError(f"{where}: {path}: {why_no_folder(path)}; give the path of a folder")
    return str(path)


def blame_metadata(dataset_config: Mapping[str, Any]) -> None:
    """Raises :class:`UserError` if a ``custom_metadata_module`` is what the host has failed on."""
    for entry in dataset_config.get("datasets") or ():
        if isinstance(entry, Mapping) and entry.get("custom_metadata_module"):
            CustomMetadata(entry["custom_metadata_module"])
