"""Which estimate belongs to which reference: by relative path without extension, and nothing dropped in silence."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config import choice_error
from ..data.finding import SUFFIXES, find_audio_files, why_no_audio
from ..errors import UserError


@dataclass(frozen=True)
class Pair:
    """One reference and what one system made of it. ``file`` names the reference: relative path without extension."""

    file: str
    system: str
    reference: Path
    estimate: Path


@dataclass(frozen=True)
class Unmatched:
    """A file without a counterpart. ``side`` is "reference" or "estimate", ``system`` the one it was held against."""

    side: str
    system: str
    path: Path
    reason: str


@dataclass
class Pairing:
    """All pairs, in the order of files and then of systems, and what found no counterpart."""

    pairs: list[Pair] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pair_files(
    reference: Path,
    estimates: Mapping[str, Path],
    without: Path | None = None,
    reasons: Mapping[Path, str] | None = None,
) -> Pairing:
    """Pairs every reference with each system's estimate of it.

    Folders are searched for audio files at any depth; names are compared without extension. Where several references
    differ in their extension only (a.wav, a.flac), each is known by its full name, and a.wav.mp3 or a.wav is its
    estimate. Where a.wav has no other estimate, a.wav.mp3 is it as well: ``ear-sat reconstruct`` calls it so beside a
    file that is no reference (a.m4a). Two single files are a pair whatever their names.

    Args:
        reference: a folder, or one audio file.
        estimates: name of the system → folder, or one audio file where ``reference`` is one.
        without: a folder below ``reference`` that is left out, such as that of the results.
        reasons: why a reference has no estimate, where that is known.

    Raises:
        UserError: a path does not exist, a file is given against a folder, no audio files, or a system of which not
            one file matches.
    """
    if not estimates:
        raise UserError("nothing to evaluate; give at least one --estimate NAME=FOLDER")
    for path in (reference, *estimates.values()):
        if not path.exists():
            raise UserError(f"no such file or folder: {path}")
        if path.is_dir() != reference.is_dir():
            raise UserError(f"{reference} and {path} must both be files or both be folders")
        if why := "" if path.is_dir() else why_no_audio(path):
            raise UserError(f"{path}: {why}")
    if not reference.is_dir():
        return Pairing([Pair(reference.stem, system, reference, path) for system, path in estimates.items()])

    references = _reference_names(reference, without)
    if not references:
        raise UserError(f"no audio files in {reference}; supported: {', '.join(SUFFIXES)}")
    folders = dict.fromkeys((reference, *estimates.values()))
    pairing = Pairing(notes=[note for folder in folders for note in _other_files(folder, without)])
    found: dict[str, list[Pair]] = {name: [] for name in references}
    for system, folder in estimates.items():
        taken = _match(references, reference, folder, system, pairing.unmatched, reasons or {})
        if not taken:
            raise _nothing_matches(references, reference, folder)
        for name, path in taken.items():
            found[name].append(Pair(name, system, references[name], path))
    pairing.pairs = [pair for name in references for pair in found[name]]
    return pairing


def _match(
    references: Mapping[str, Path],
    reference: Path,
    folder: Path,
    system: str,
    unmatched: list[Unmatched],
    known: Mapping[Path, str],
) -> dict[str, Path]:
    """Reference name → estimate below ``folder``; whatever is left over on either side goes to ``unmatched``."""
    files = [Path(path) for path in find_audio_files(folder)]
    by_stem: dict[str, list[Path]] = {}
    for path in files:
        by_stem.setdefault(_name(path, folder), []).append(path)
    by_full_name = {_full_name(path, folder): path for path in files}
    taken: dict[str, Path] = {}
    reasons: dict[Path, str] = {}
    for name, path in references.items():
        same = by_full_name.get(_full_name(path, reference))
        # A reference known by its full name, or one of several estimates: the same extension decides.
        candidates = by_stem.get(name) or by_stem.get(_full_name(path, reference)) or ([same] if same else [])
        if not candidates:
            unmatched.append(Unmatched("reference", system, path, known.get(path, "has no estimate")))
            continue
        taken[name] = same if same in candidates else candidates[0]
        for other in candidates:
            if other != taken[name]:
                reasons[other] = f"{taken[name].name} was taken for the same reference"
    used = set(taken.values())
    unmatched += [
        Unmatched("estimate", system, path, reasons.get(path, "has no reference")) for path in files if path not in used
    ]
    return taken


def _reference_names(folder: Path, without: Path | None) -> dict[str, Path]:
    """Name → file: without extension where that is unique, in full where it is not."""
    files = [Path(path) for path in find_audio_files(folder)]
    if without is not None:
        files = [path for path in files if without.resolve() not in path.resolve().parents]
    count = Counter(_name(path, folder) for path in files)
    return {
        _name(path, folder) if count[_name(path, folder)] == 1 else _full_name(path, folder): path for path in files
    }


def _full_name(path: Path, folder: Path) -> str:
    """Relative path with forward slashes; composed Unicode, because macOS writes decomposed names."""
    return unicodedata.normalize("NFC", path.relative_to(folder).as_posix())


def _name(path: Path, folder: Path) -> str:
    return _full_name(path.with_suffix(""), folder)


def _other_files(folder: Path, without: Path | None) -> list[str]:
    """One note about the files that are not taken for audio, so that a folder of .m4a does not vanish."""
    suffixes = Counter(
        path.suffix.lower() or path.name
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix.lower() not in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (without is None or without.resolve() not in path.resolve().parents)
    )
    if not suffixes:
        return []
    kinds = ", ".join(f"{count} × {suffix}" for suffix, count in suffixes.most_common(8))
    return [f"{folder}: {suffixes.total()} other file(s) not read ({kinds})"]


def _nothing_matches(references: Mapping[str, Path], reference: Path, folder: Path) -> UserError:
    names = {_name(Path(path), folder) for path in find_audio_files(folder)}
    if not names:
        return UserError(f"no audio files in {folder}; supported: {', '.join(SUFFIXES)}")
    first = next(iter(references))
    hint = choice_error("estimate", first, names) if len(names) <= 20 else f"there is no {first}"
    return UserError(f"no file of {reference} has its namesake in {folder}: {hint}")
