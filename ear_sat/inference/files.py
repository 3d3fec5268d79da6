"""Which files are reconstructed, and where to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data import find_audio_files
from ..data.reading import OTHER_SUFFIXES, SUFFIXES
from ..errors import UserError


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
        jobs.append(FileJob(path, output, relative.as_posix()))
    return jobs


def output_names(names: Sequence[Path]) -> list[Path]:
    """Names with the extension .wav; of those that would be the same, each keeps its own extension in the stem.

    Names that differ in case only count as the same, as they are on some file systems.

    >>> [str(name) for name in output_names([Path("a/song.mp3"), Path("a/song.flac"), Path("b.ogg")])]
    ['a/song.mp3.wav', 'a/song.flac.wav', 'b.wav']
    """
    keeping: set[int] = set()
    while True:
        outputs = [
            name.with_name(f"{name.name}.wav") if index in keeping else name.with_suffix(".wav")
            for index, name in enumerate(names)
        ]
        same = defaultdict(set)
        for index, output in enumerate(outputs):
            same[_folded(output)].add(index)
        clashing = {index for indices in same.values() if len(indices) > 1 for index in indices} - keeping
        if not clashing:
            return outputs
        keeping |= clashing


def _folded(path: Path) -> str:
    return path.as_posix().casefold()
