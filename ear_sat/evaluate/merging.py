"""What was measured in several folders, of ranks or of machines, as one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..codecs import CodecFacts
from ..engines import runner
from ..errors import UserError
from ..files import disk_errors
from .embeddings import FOLDER, stored_embeddings
from .engine import Evaluation, compared_results, summarise_results
from .frechet import FrechetDistance, distance
from .log import RunInfo, read_log
from .measure import PairResult
from .pairing import Pair, Pairing
from .report import Report, write_report
from .run import check_out

#: What the machine that computes adds to the facts of a codec.
_OF_THE_MACHINE = ("times_real_time", "timed_seconds", "device")


@dataclass(frozen=True)
class _Part:
    """A folder, how it was measured, and what."""

    folder: Path
    info: RunInfo
    results: list[PairResult]


def merge(folders: Sequence[Path], out: Path, report: Report | None = None, *, seed: int = 0) -> Evaluation:
    """The report of what was measured in several folders, of ranks or of machines, whose audio need not be here.

    Of a pair that stands in several folders the first result without an error counts. What codecs cost is that of the
    folders; a Fréchet audio distance is computed where each folder holds its embeddings, and else a note says why it
    is left out. Clips are shown of files that are where they were measured.

    Args:
        folders: what ``out`` was in :func:`.run.evaluate`.
        out: folder for the results; made if needed, and may be one of ``folders``.
        report: as in :func:`.run.evaluate`.
        seed: of the bootstrap.

    Raises:
        UserError: a folder without measurements, or measurements under other settings or of another codec of the same
            name.
    """
    report = report or Report()
    check_out(out)
    with disk_errors(out):
        parts = [_read(folder) for folder in dict.fromkeys(folders)]
        first = parts[0].info
        for part in parts:
            if part.info.settings != first.settings:
                raise UserError(
                    f"{parts[0].folder} and {part.folder} were measured with other settings ({first.settings} and "
                    f"{part.info.settings}); measure one of them again"
                )
        notes = list(dict.fromkeys(note for part in parts for note in part.info.notes))
        if any(part.info.versions != first.versions for part in parts):
            notes.append("the folders were measured with different versions of the software")
        estimates = {system: Path(path) for part in parts for system, path in part.info.estimates.items()}
        chosen = _chosen(parts)
        order = {system: index for index, system in enumerate(estimates)}
        results = sorted((result for result, _ in chosen.values()), key=lambda r: (r.file, order[r.system]))
        pairs = [Pair(r.file, r.system, Path(r.reference), Path(r.estimate)) for r in results]
        unmatched = list(dict.fromkeys(entry for part in parts for entry in part.info.unmatched_files()))
        also = tuple(first.settings["also"])
        shared, summaries, own = summarise_results(results, list(estimates), seed, also)
        codecs = {system: facts for system in estimates if (facts := _codec(system, parts, notes))}
        files = {
            system: [(chosen[r.file, r.system][1], r) for r in rows]
            for system, rows in compared_results(results, list(estimates), shared).items()
        }
        evaluation = Evaluation(
            Path(first.reference),
            estimates,
            first.settings["align"],
            seed,
            Pairing(pairs, unmatched, notes),
            results,
            shared,
            summaries,
            own,
            also,
            _distances(parts, files, notes),
            codecs=codecs,
        )
        with runner("local", 1, default=1) as run:
            write_report(evaluation, out, report, run)
        return evaluation


def _read(folder: Path) -> _Part:
    read = read_log(folder)
    if read is None:
        raise UserError(f"there are no measurements in {folder}; give folders that were --out of ear-sat evaluate")
    return _Part(folder, *read)


def _chosen(parts: Sequence[_Part]) -> dict[tuple[str, str], tuple[PairResult, Path]]:
    """(file, system) → the first result without an error, and the folder it stands in."""
    found: dict[tuple[str, str], tuple[PairResult, Path]] = {}
    for part in parts:
        for result in part.results:
            key = result.file, result.system
            if key not in found or (found[key][0].error and not result.error):
                found[key] = result, part.folder
    return found


def _codec(system: str, parts: Sequence[_Part], notes: list[str]) -> CodecFacts | None:
    """What the codec of ``system`` costs; its time is that of all work of one kind of device."""
    known = [(part.folder, part.info.codecs[system]) for part in parts if system in part.info.codecs]
    if not known:
        return None
    (folder, first), *others = known
    for other, facts in others:
        for name in (field.name for field in fields(CodecFacts) if field.name not in _OF_THE_MACHINE):
            if getattr(facts, name) != getattr(first, name):
                raise UserError(
                    f"{folder} and {other} hold different codecs under the name {system} ({name}: "
                    f"{getattr(first, name)} and {getattr(facts, name)}); evaluate one of them again under another name"
                )
    timed = [facts for _, facts in known if facts.times_real_time and facts.timed_seconds]
    devices = sorted({str(facts.device) for facts in timed})
    if len(devices) > 1:
        notes.append(f"{system} was computed on {' and on '.join(devices)}, so that there is no one × real time of it")
        return replace(first, times_real_time=None, timed_seconds=None, device=None)
    seconds = sum(facts.timed_seconds or 0 for facts in timed)
    work = sum((facts.timed_seconds or 0) / (facts.times_real_time or 1) for facts in timed)
    return replace(timed[0], times_real_time=seconds / work, timed_seconds=seconds) if timed else first


def _distances(
    parts: Sequence[_Part], files: Mapping[str, Sequence[tuple[Path, PairResult]]], notes: list[str]
) -> tuple[FrechetDistance, ...]:
    """By every embedding that was asked for or stands in a folder; ``notes`` gets what is left out, and why."""
    used = dict.fromkeys(folder for rows in files.values() for folder, _ in rows)
    stored = {folder: stored_embeddings(folder / FOLDER) for folder in used}
    found: list[FrechetDistance] = []
    asked = [model for part in parts for model in part.info.embeddings]
    for model in dict.fromkeys([*asked, *(model for kept in stored.values() for model, _ in kept)]):
        left_out = f"the Fréchet audio distance by {model} is left out"
        lacking = [str(folder) for folder, kept in stored.items() if model not in {name for name, _ in kept}]
        if lacking:
            notes.append(
                f"{left_out}: there are none of its embeddings in {' and '.join(lacking)}; copy the folder {FOLDER} as "
                f"well, or run the command of that --out again with --fad {model}"
            )
            continue
        try:
            found += [_distance(system, model, rows, stored) for system, rows in files.items()]
        except UserError as error:
            notes.append(f"{left_out}: {error}")
    return tuple(found)


def _distance(
    system: str,
    model: str,
    rows: Sequence[tuple[Path, PairResult]],
    stored: Mapping[Path, Mapping[tuple[str, str], Path]],
) -> FrechetDistance:
    pairs, lacking = [], []
    for folder, result in rows:
        kept = stored[folder]
        pairs.append((kept.get((model, result.reference)), kept.get((model, result.estimate))))
        for path, file in zip((result.reference, result.estimate), pairs[-1], strict=True):
            if file is None:
                lacking.append(f"{Path(path).name}: {folder / FOLDER} has none")
    return distance(system, model, pairs, lacking)
