"""From folders to a report: measure what is missing, alone or among ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ..codecs import CodecFacts
from ..config import check_choice
from ..engines import check_engine, runner
from ..errors import UserError
from ..files import disk_errors
from ..metrics import OPTIONAL, require_visqol
from ..ranks import Place, find_place
from ..versions import versions
from .embeddings import FOLDER as EMBEDDINGS
from .embeddings import keep_embeddings, open_embedding
from .engine import Evaluation, check_processes, compared_results, measure_missing, summarise_results
from .frechet import FrechetDistance, distances
from .log import ResultLog, RunInfo
from .pairing import Pair, Pairing, pair_files
from .report import Report, write_report


def evaluate(
    reference: Path,
    estimates: Mapping[str, Path],
    out: Path,
    report: Report | None = None,
    *,
    align: bool = False,
    also: Sequence[str] = (),
    fad: str | None = None,
    engine: str = "local",
    processes: int | None = None,
    seed: int = 0,
    reasons: Mapping[Path, str] | None = None,
    codecs: Mapping[str, CodecFacts] | None = None,
) -> Evaluation:
    """Evaluates systems against references, and writes results and report into ``out``.

    Every pair is kept as soon as it is measured: an earlier call with the same settings, in whatever way it ended, left
    what this one need not measure. Among the ranks of torchrun or SLURM each call measures its share of the files and
    writes no report; when all have ended, a call without a launcher does.

    Args:
        reference: folder of the references, or one file.
        estimates: system → folder of its estimates under the same names, or one file.
        out: folder for the results; made if needed.
        report: what is written; by default all but Parquet and scores of others.
        align: take detected constant offsets out.
        also: metrics of :data:`ear_sat.metrics.OPTIONAL` to measure as well.
        fad: embedding for the Fréchet audio distance, a key of :data:`.embeddings.MODELS`; None for none.
        engine: "local" or "ray"; the machines of a cluster must see the files under the same paths.
        processes: how many to use, default one per core, and one for each rank.
        seed: of the bootstrap.
        reasons: why a reference has no estimate, where that is known.
        codecs: system → what its codec costs, where that is known.

    Raises:
        UserError: nothing to compare, an argument out of range, a missing package, or a full disk. Files that cannot be
            used raise nothing: see :attr:`Evaluation.failures`.
    """
    report, place = report or Report(), find_place()
    for name in estimates:
        if not name.strip() or name == "reference":
            raise UserError(f"'{name}' cannot name a system; choose another name")
    check_out(out)
    check_engine(engine, processes)
    check_packages(also, fad)
    with disk_errors(out):
        pairing = pair_files(reference, estimates, without=out, reasons=reasons)
        pairing.pairs = _share(pairing.pairs, place)
        settings = {"align": align, "also": {name: versions(OPTIONAL[name].package) for name in also}}
        log = ResultLog(out, settings, place.rank)
        info = RunInfo(
            settings,
            str(reference),
            {system: str(path) for system, path in estimates.items()},
            [{**asdict(entry), "path": str(entry.path)} for entry in pairing.unmatched],
            pairing.notes,
            dict(codecs or {}),
            [fad] if fad else [],
        )
        known = log.read(pairing.pairs)
        count = _processes(processes, place, len(pairing.pairs) - len(known), pairing, report, fad)
        with runner(engine, count if engine == "local" else processes, default=1) as run:
            results = measure_missing(pairing.pairs, known, log, info, run, align=align, also=also)
            shared, summaries, own = summarise_results(results, list(estimates), seed, also)
            frechet: tuple[FrechetDistance, ...] = ()
            if fad and place.size > 1:
                measured = [result for result in results if result.error is None]
                paths = dict.fromkeys(Path(path) for r in measured for path in (r.reference, r.estimate))
                keep_embeddings(list(paths), fad, out / EMBEDDINGS, run)
            elif fad:
                compared = compared_results(results, list(estimates), shared)
                files = {name: [(Path(r.reference), Path(r.estimate)) for r in rows] for name, rows in compared.items()}
                frechet = distances(files, fad, out / EMBEDDINGS, run)
            evaluation = Evaluation(
                reference,
                dict(estimates),
                align,
                seed,
                pairing,
                results,
                shared,
                summaries,
                own,
                tuple(also),
                frechet,
                place,
                info.codecs,
            )
            if place.size == 1:
                write_report(evaluation, out, report, run)
        return evaluation


def check_out(out: Path) -> None:
    """Raises UserError where there is a file in the place of the folder for results."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results")


def check_packages(also: Sequence[str], fad: str | None) -> None:
    """Raises UserError for an unknown name, a missing package or missing weights: before hours of work."""
    for name in also:
        check_choice("optional metric", name, OPTIONAL)
    if "visqol_mos" in also:
        require_visqol()
    if fad is not None:
        open_embedding(fad)


def _share(pairs: Sequence[Pair], place: Place) -> list[Pair]:
    """Whole files, dealt in turn."""
    mine = set(place.share(dict.fromkeys(pair.file for pair in pairs)))
    return [pair for pair in pairs if pair.file in mine]


def _processes(given: int | None, place: Place, missing: int, pairing: Pairing, report: Report, fad: str | None) -> int:
    """As many as asked for, or one per core (one for each rank of a launcher), but no more than there is to do."""
    files = len({pair.file for pair in pairing.pairs})
    clips = files if report.clips is None else min(report.clips, files)
    jobs = max(missing, clips, files if fad else 0, 1)
    return check_processes(given if given or place.size == 1 else 1, jobs)
