"""The host lists no shards where there are none, and breaks on the empty list; ours say why there are none.

A ``path`` may also be a single ``.tar``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from ...data.finding import ARCHIVES, walk_files, why_no_audio
from ...data.manifest import SHARD_SUFFIX
from ...errors import UserError
from .wrapping import wrap


def apply() -> None:
    """Wraps ``load_data_urls`` of both kinds of entries."""
    from stable_audio_tools.data.dataset import LocalWebDatasetConfig, S3DatasetConfig

    wrap(LocalWebDatasetConfig, "load_data_urls", _local)
    wrap(S3DatasetConfig, "load_data_urls", _remote)


def _local(original: Any) -> Any:
    def load_data_urls(self: Any) -> list[str]:
        path = Path(self.path)
        if path.is_file() and path.suffix.lower() == SHARD_SUFFIX:
            self.urls = [str(path)]
        elif path.is_dir():
            original(self)
        else:
            advice = why_no_audio(path) if path.is_file() else "there is no such folder"
            raise _no_shards(self, advice or "it is neither a folder nor a .tar")
        if not self.urls:
            packed = next((file for file in walk_files(path) if file.lower().endswith(tuple(ARCHIVES))), None)
            of_it = f"; of {packed}, {why_no_audio(packed)}" if packed else ""
            raise _no_shards(self, f"there is no .tar in it, nor in its subfolders{of_it}")
        return list(self.urls)

    return load_data_urls


def _no_shards(entry: Any, why: str) -> UserError:
    return UserError(
        f"dataset {entry.id}: no WebDataset shards at {entry.path}: {why}; give a folder of .tar files, such as "
        "`ear-sat prepare-data --shards` writes, or use dataset_type ear_audio for audio files"
    )


def _remote(original: Any) -> Any:
    def load_data_urls(self: Any) -> list[str]:
        try:
            urls: list[str] = original(self)
        except FileNotFoundError as error:
            raise UserError(f"dataset {self.id}: S3 needs the command aws, which is not installed") from error
        except subprocess.CalledProcessError as error:  # aws exits with 1 where nothing lies below the path, too
            said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
            raise _no_shards_there(self, f"aws s3 ls fails: {said[-1]}" if said else "nothing lies there") from error
        if not urls:
            raise _no_shards_there(self, "nothing there has .tar in its name")
        return urls

    return load_data_urls


def _no_shards_there(entry: Any, why: str) -> UserError:
    return UserError(f"dataset {entry.id}: no WebDataset shards at {entry.path}: {why}; mend s3_path or profile")
