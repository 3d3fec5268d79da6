"""Finding tracks: audio files in folders and lists, and members of WebDataset shards.

A track is named by its path alone: ``/music/song.flac``, or ``/shards/000.tar::song.flac`` for a member of a shard.
Tracks are found one by one, never as a list.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..data.finding import ARCHIVES, OTHER_SUFFIXES, SUFFIXES, printable, regular_file, walk_files, why_no_audio
from ..data.manifest import SHARD_SUFFIX, split_path
from ..data.parts import UnusableFileError
from ..data.rows import TABLE_SUFFIXES, open_text, read_rows
from ..data.stream import reason_of
from ..errors import UserError

PLAYLISTS = (".m3u", ".m3u8")
LIST_SUFFIXES = (".txt", *PLAYLISTS, *TABLE_SUFFIXES)
_COUNTED = (*OTHER_SUFFIXES, *ARCHIVES)


@dataclass(frozen=True)
class Found:
    """A track, or something that should have been one.

    Attributes:
        path: absolute, of valid Unicode.
        identity: size and modification time of the file; another one means another content.
        error: why there is nothing to measure; empty where there is.
    """

    path: str
    identity: str = ""
    error: str = ""


def find_tracks(sources: Sequence[Path], without: Path, others: Counter[str] | None = None) -> Iterator[Found]:
    """The tracks of all sources, in no particular order; one that is named twice comes twice.

    Args:
        sources: folders, with what is below them; audio files; ``.tar`` shards; lists: ``.txt`` or ``.m3u`` with a path
            per line, ``.csv``, ``.parquet`` or ``.jsonl`` with a column ``path``. Relative paths of a list start from
            its folder.
        without: a folder that is left out.
        others: counts by suffix the files of folders and shards that are archives, or audio of a format that is not
            read.

    Raises:
        UserError: a source does not exist or is an archive, or a list cannot be read. A listed path that is none, or of
            no file, is an error of that track.
    """
    others = Counter() if others is None else others
    for source in sources:
        if not os.path.exists(source):  # noqa: PTH110 - unlike Path.exists it never raises
            raise UserError(
                f"no such file or folder: {source}; give folders, audio files, .tar shards, or lists of them"
            )
        if source.suffix.lower() in ARCHIVES.keys() - {SHARD_SUFFIX} and source.is_file():
            raise UserError(f"{source}: {why_no_audio(source)}, and give the folder")
    for source in sources:
        if source.is_file() and source.suffix.lower() in LIST_SUFFIXES:
            folder = os.path.abspath(source.parent)  # noqa: PTH100 - removes ".." as well, and keeps links
            for path in _listed(source):
                yield from _expand(os.path.join(folder, path), without, others)  # noqa: PTH118 - an absolute path stays
        else:
            yield from _expand(str(source), without, others)


def _expand(path: str, without: Path, others: Counter[str]) -> Iterator[Found]:
    """The tracks at ``path``: a folder's, a shard's, or the file itself."""
    path = os.path.abspath(path)  # noqa: PTH100
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it never raises
        for file in walk_files(path, without):
            if file.lower().endswith(SHARD_SUFFIX) or _is_audio(file, others):
                yield from _tracks_of(file, others)
    else:
        yield from _tracks_of(path, others)


def _tracks_of(path: str, others: Counter[str]) -> Iterator[Found]:
    file, member = split_path(path)
    try:
        state = regular_file(file)
    except UnusableFileError as error:
        yield _found(path, error=str(error))
        return
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        yield _found(path, error=f"not readable ({reason_of(error)})")
        return
    identity = f"{state.st_size}-{state.st_mtime_ns}"
    if member or not path.lower().endswith(SHARD_SUFFIX):
        yield _found(path, identity)
        return
    try:
        with tarfile.open(path, "r:") as shard:
            for entry in shard:
                if entry.isfile() and _is_audio(entry.name, others):
                    yield _found(f"{path}::{entry.name}", identity)
                shard.members = []  # type: ignore[attr-defined]  # tarfile would keep every entry
    except (tarfile.TarError, OSError, EOFError) as error:
        yield _found(path, identity, f"not readable as a shard to its end ({reason_of(error)})")


def _found(path: str, identity: str = "", error: str = "") -> Found:
    try:
        path.encode()
    except UnicodeEncodeError:
        return Found(printable(path), error="its name is not valid UTF-8, which a manifest cannot hold; rename it")
    return Found(path.replace("\0", r"\x00"), identity, error)  # Python 3.10 reads no table with a zero byte


def _is_audio(name: str, others: Counter[str]) -> bool:
    """Whether it is audio that is read; counts in ``others`` what is other audio, or an archive."""
    base = name.rsplit("/", 1)[-1].lower()
    if base.startswith("."):
        return False
    if base.endswith(_COUNTED):
        others[base[base.rindex(".") :]] += 1
    return base.endswith(SUFFIXES)


def _listed(source: Path) -> Iterator[str]:
    """The paths of a list, as they stand there."""
    what = f"the list {source}"
    if source.suffix.lower() in TABLE_SUFFIXES:
        yield from (str(row["path"]) for row in read_rows(what, source, ("path",), _require_path) if row["path"])
        return
    playlist = source.suffix.lower() in PLAYLISTS
    try:
        with open_text(what, source) as file:
            for line in map(str.strip, file):
                if playlist and line.startswith("file://"):
                    yield unquote(line.removeprefix("file://"), errors="surrogateescape")
                elif line and not (playlist and line.startswith("#")):
                    yield line
    except OSError as error:
        raise UserError(f"cannot read {what}: {error}") from error


def _require_path(what: str, names: Collection[str]) -> None:
    if "path" not in names:
        raise UserError(f"{what} has no column path; it has {', '.join(names)}")


def read_member(shard: str, member: str) -> bytes:
    """The bytes of ``member`` of ``shard``.

    Raises:
        UnusableFileError: there is no such member, or the shard ends before it does.
    """
    try:
        place = _members(shard).get(member)
        if place is None:
            raise UnusableFileError(f"no such member in {shard}")
        with open(shard, "rb") as file:  # noqa: PTH123
            file.seek(place[0])
            data = file.read(place[1])
    except OSError as error:
        raise UnusableFileError(f"not readable ({reason_of(error)})") from error
    if len(data) < place[1]:
        raise UnusableFileError(f"truncated: {len(data)} of {place[1]} bytes are there")
    return data


def read_sidecar(path: str) -> dict[str, Any]:
    """The JSON that belongs to a member of a shard by its name (text, tags, …); empty for other tracks.

    Raises:
        UnusableFileError: it is not a JSON object.
    """
    shard, member = split_path(path)
    if not member:
        return {}
    folder, slash, name = member.rpartition("/")
    # WebDataset's rule is that a name ends at its first dot; one with dots may have a JSON of its own.
    stems = (name.rpartition(".")[0], name.partition(".")[0])
    sidecar = next((file for stem in stems if (file := f"{folder}{slash}{stem}.json") in _members(shard)), None)
    if sidecar is None:
        return {}
    try:
        content = json.loads(read_member(shard, sidecar))
    except ValueError as error:
        raise UnusableFileError(f"its {sidecar} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise UnusableFileError(f"its {sidecar} must hold a JSON object, not a {type(content).__name__}")
    return content


def _members(shard: str) -> dict[str, tuple[int, int]]:
    """Name → offset and size in bytes."""
    return _index(shard, Path(shard).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _index(shard: str, changed: int) -> dict[str, tuple[int, int]]:
    """:func:`_members`; ``changed`` makes it anew when the shard is another."""
    found = {}
    try:
        with tarfile.open(shard, "r:") as file:
            for entry in file:
                found[entry.name] = (entry.offset_data, entry.size)
                file.members = []  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError):  # damaged: what comes before the damage can be used
        pass
    return found
