"""Finds audio files in folders."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from .parts import UnusableFileError

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif")
#: Of audio that data sets do not look for; most of them need ffmpeg.
OTHER_SUFFIXES = (
    *(".aac", ".ac3", ".aifc", ".alac", ".amr", ".ape", ".au", ".caf", ".dff", ".dsf", ".dts", ".eac3", ".m4a", ".m4b"),
    *(".mka", ".mp2", ".mp4", ".mpc", ".oga", ".ra", ".rf64", ".spx", ".tak", ".tta", ".w64", ".weba", ".webm", ".wma"),
    ".wv",
)
#: Suffix → command that unpacks it. Longer ones first: a name may end with several.
ARCHIVES = {
    **dict.fromkeys((".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tbz2", ".txz", ".tar"), "tar -xf"),
    **{".zip": "unzip", ".7z": "7z x", ".rar": "unrar x", ".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz"},
    ".zst": "unzstd",
}
LISTS = (".txt", ".csv", ".parquet", ".pq", ".jsonl", ".ndjson", ".m3u", ".m3u8")
_OTHER_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def find_audio_files(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[str]:
    """Paths of the files below ``folder`` with such suffixes, sorted; hidden ones are skipped, links are followed."""
    wanted = tuple(suffixes)
    return sorted(str(Path(path)) for path in walk_files(folder) if path.lower().endswith(wanted))


def walk_files(folder: str | Path, without: Path | None = None) -> Iterator[str]:
    """Paths of the files below ``folder``, in no particular order; hidden ones are skipped, links are followed.

    What is no file (a pipe, a socket, a device) is left out, and what cannot be looked at for want of permission is as
    good as absent.

    Args:
        folder: where to begin.
        without: a folder that is left out.
    """
    waiting = [os.fspath(folder)]
    seen = set() if without is None else {os.path.realpath(without)}
    while waiting:
        here = waiting.pop()
        if (real := os.path.realpath(here)) in seen:  # a link to a folder above would go round for ever
            continue
        seen.add(real)
        folders = []
        with suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(OSError):  # a link to itself or into a folder without permission must not hide the others
                    if entry.is_dir():
                        folders.append(entry.path)
                    elif entry.is_file():
                        yield entry.path
        waiting += sorted(folders, reverse=True)  # the same way round every time, wherever links lead


def regular_file(path: str | Path) -> os.stat_result:
    """What the system says of a file.

    Raises:
        UnusableFileError: it is no file but a folder, a pipe, a socket or a device, which may never end.
        OSError: there is none, or it cannot be looked at.
    """
    state = os.stat(path)  # noqa: PTH116 - on every crop: half as long as Path.stat
    if not stat.S_ISREG(state.st_mode):
        kind = _OTHER_KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        raise UnusableFileError(f"it is {kind}, not a file; save the audio in a file and give that")
    return state


def printable(path: str | Path) -> str:
    """A path as valid Unicode: bytes that are none become escapes.

    >>> printable("caf\\udce9.wav")
    'caf\\\\xe9.wav'
    """
    return os.fsencode(path).decode(errors="backslashreplace")


def audio_stem(name: str) -> str:
    """A file's name without its extension, if that is one of audio.

    >>> audio_stem("song.MP3"), audio_stem("01. Intro"), audio_stem("mix v1.2")
    ('song', '01. Intro', 'mix v1.2')
    """
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES) else name


def why_no_folder(path: Path) -> str:
    """What is wrong with a path that is to be a folder and is none."""
    return (why_no_audio(path) or "it is a file") if path.exists() else "there is no such folder"


def why_no_audio(path: str | Path) -> str:
    """What a file is by its suffix, and the way out, where that is an archive or a list of files; else nothing.

    >>> why_no_audio("a/music.tar.gz")
    'it is an archive: unpack it (tar -xf music.tar.gz)'
    >>> why_no_audio("song.flac")
    ''
    """
    name = printable(Path(path).name)
    for suffix, command in ARCHIVES.items():
        if name.lower().endswith(suffix):
            return f"it is an archive: unpack it ({command} {shlex.quote(name)})"
    if name.lower().endswith(LISTS):
        return "it is a list: give the files that it names, or what `ear-sat prepare-data` makes of it"
    return ""
