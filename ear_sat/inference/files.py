"""Which files are reconstructed, and where to."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data import find_audio_files
from ..data.finding import OTHER_SUFFIXES, SUFFIXES, audio_stem, printable, regular_file
from ..data.parts import UnusableFileError
from ..errors import UserError
from ..files import MAX_NAME_BYTES


@dataclass(frozen=True)
class FileJob:
    """One file to reconstruct; ``name`` is its path relative to the folder that was given, to show."""

    source: Path
    output: Path
    name: str


def plan_jobs(inputs: Sequence[Path], out: Path) -> list[FileJob]:
    """One job for each audio file among ``inputs`` and below the folders among them, in order.

    The output keeps the path relative to the folder, with the extension .wav; see :func:`output_names`. Files below
    ``out`` are left out, where it lies inside a folder of inputs. Files named one by one may have any suffix.

    Raises:
        UserError: an input does not exist, a folder has no audio, or an output would replace an input or another one.
    """
    sources: dict[Path, tuple[Path, Path]] = {}  # resolved → (as given, relative); a file given twice counts once
    for given in inputs:
        if given.is_dir():
            found = [Path(path) for path in find_audio_files(given, (*SUFFIXES, *OTHER_SUFFIXES))]
            inside = out.resolve() != given.resolve()
            found = [path for path in found if not (inside and out.resolve() in path.resolve().parents)]
            if not found:
                raise UserError(f"no audio files in {given}; give a folder with {' '.join(SUFFIXES)} files, or files")
            for path in found:
                sources.setdefault(path.resolve(), (path, path.relative_to(given)))
        elif given.exists():
            try:
                regular_file(given)
            except UnusableFileError as error:
                raise UserError(f"{given}: {error}") from None
            sources.setdefault(given.resolve(), (given, Path(given.name)))
        else:
            raise UserError(f"no such file or folder: {given}; give paths of audio files or of folders of them")
    names = output_names([relative for _, relative in sources.values()])
    taken: dict[str, Path] = {}
    jobs = []
    for (path, relative), name in zip(sources.values(), names, strict=True):
        output = out / name
        if output.resolve() in sources:
            raise UserError(f"{output} is an input and would be replaced; give another folder with --out")
        if (other := taken.setdefault(_folded(name), path)) != path:
            raise UserError(f"{other} and {path} would both be written to {output}; reconstruct them into two folders")
        jobs.append(FileJob(path, output, printable(relative.as_posix())))
    return jobs


def output_names(names: Sequence[Path]) -> list[Path]:
    """Names with the extension .wav in place of one of audio; of those that would be the same, each keeps its own.

    Names that differ in case only count as the same, as they are on some file systems.

    >>> [str(name) for name in output_names([Path("a/song.mp3"), Path("a/song.flac"), Path("b.ogg")])]
    ['a/song.mp3.wav', 'a/song.flac.wav', 'b.wav']
    """
    keeping: set[int] = set()
    while True:
        outputs = [
            name.with_name(_with_suffix(name.name if index in keeping else audio_stem(name.name)))
            for index, name in enumerate(names)
        ]
        same = defaultdict(set)
        for index, output in enumerate(outputs):
            same[_folded(output)].add(index)
        clashing = {index for indices in same.values() if len(indices) > 1 for index in indices} - keeping
        if not clashing:
            return outputs
        keeping |= clashing


def _with_suffix(stem: str) -> str:
    """``stem``.wav; of one that is too long for a name the beginning, and digits that depend on all of it.

    >>> _with_suffix("01. Intro"), len(_with_suffix("ö" * 126))
    ('01. Intro.wav', 134)
    """
    encoded, room = os.fsencode(stem), MAX_NAME_BYTES - len(".wav")
    if len(encoded) <= room:
        return f"{stem}.wav"
    digits = f"~{hashlib.sha256(encoded).hexdigest()[:8]}"
    return f"{encoded[: room - len(digits)].decode(errors='ignore')}{digits}.wav"


def _folded(path: Path) -> str:
    return path.as_posix().casefold()
