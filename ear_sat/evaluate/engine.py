"""The whole of an evaluation: pair, measure what is missing, summarise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..codecs import CodecFacts
from ..engines import check_engine
from ..metrics import KNOWN, METRICS, Metric
from ..processes import Runner, cores
from ..ranks import Place
from .frechet import FrechetDistance
from .log import ResultLog, RunInfo
from .measure import PairResult, measure_pair
from .pairing import Pair, Pairing
from .summary import Summary, summarise


@dataclass(frozen=True)
class Evaluation:
    """Results of all pairs and their summaries.

    Attributes:
        reference: folder or file of the references.
        estimates: system → folder or file.
        align: whether detected offsets were taken out.
        also: optional metrics that were measured beside the usual ones.
        seed: of the bootstrap.
        pairing: pairs, unmatched files, notes.
        results: one per pair, in their order.
        shared: files that every system has a result for.
        summaries: metric → system → summary over the shared files, ranked; over each system's own files and not ranked
            where no file is shared.
        own_summaries: the same over each system's own files.
        codecs: system → what its codec costs, of those that were computed here.
        frechet: distance of distributions, one per system; empty where none was asked for.
        place: among the ranks of a launcher; the results are those of its share.
    """

    reference: Path
    estimates: dict[str, Path]
    align: bool
    seed: int
    pairing: Pairing
    results: list[PairResult]
    shared: list[str]
    summaries: dict[str, dict[str, Summary]]
    own_summaries: dict[str, dict[str, Summary]]
    also: tuple[str, ...] = ()
    frechet: tuple[FrechetDistance, ...] = ()
    place: Place = field(default_factory=Place)
    codecs: Mapping[str, CodecFacts] = field(default_factory=dict)

    @property
    def systems(self) -> list[str]:
        return list(self.estimates)

    @property
    def metrics(self) -> dict[str, Metric]:
        """Those that were measured, by name."""
        return {name: KNOWN[name] for name in (*METRICS, *self.also)}

    @property
    def failures(self) -> list[PairResult]:
        return [result for result in self.results if result.error is not None]

    def measured(self, system: str) -> list[PairResult]:
        """The results of ``system`` that have values."""
        return [result for result in self.results if result.system == system and result.error is None]

    def sharing_note(self) -> str | None:
        """What the summary is over, where the systems have different files; None where they have the same."""
        counts = {system: len(self.measured(system)) for system in self.systems}
        if all(count == len(self.shared) for count in counts.values()):
            return None
        own = ", ".join(f"{system} {count}" for system, count in counts.items())
        if not self.shared:
            return f"the systems share no file ({own}): means over each system's own files, which do not compare"
        return f"means over the {len(self.shared)} file(s) that all systems have; files measured: {own}"


def check_processes(given: int | None, jobs: int) -> int:
    """The number of processes to start: ``given`` or the number of cores, at most one per job.

    Raises:
        UserError: ``given`` is below 1.
    """
    check_engine("local", given)
    return max(1, min(given or cores(), jobs))


def measure_missing(
    pairs: Sequence[Pair],
    known: Sequence[PairResult],
    log: ResultLog,
    info: RunInfo,
    run: Runner,
    *,
    align: bool,
    also: Sequence[str] = (),
) -> list[PairResult]:
    """Results of all pairs in their order; measures and logs those not ``known``, with a progress bar."""
    done = {(result.file, result.system): result for result in known}
    missing = [pair for pair in pairs if (pair.file, pair.system) not in done]
    if not missing:
        log.tell(info)
        return [done[pair.file, pair.system] for pair in pairs]
    keys, failed = [log.key(pair) for pair in missing], 0  # of the files as they are before they are read
    with (
        log.writing(info) as keep,
        tqdm(total=len(pairs), initial=len(known), unit="pair", disable=None) as bar,
    ):
        for index, result in run(measure_pair, ((pair, align, also) for pair in missing), _died):
            keep(keys[index], result)
            done[missing[index].file, missing[index].system] = result
            failed += result.error is not None
            bar.set_postfix_str(f"{failed} failed" if failed else "")
            bar.update()
    return [done[pair.file, pair.system] for pair in pairs]


def _died(pair: Pair, *_: object) -> PairResult:
    reason = "the process that measured it died: damaged data, or too little memory"
    return PairResult(pair.file, pair.system, str(pair.reference), str(pair.estimate), error=reason)


def summarise_results(
    results: Sequence[PairResult], systems: Sequence[str], seed: int, also: Sequence[str] = ()
) -> tuple[list[str], dict[str, dict[str, Summary]], dict[str, dict[str, Summary]]]:
    """(shared files, summaries for comparison, summaries over each system's own files)."""
    metrics = {name: KNOWN[name] for name in (*METRICS, *also)}
    values = {
        system: {r.file: r.values for r in results if r.system == system and r.error is None} for system in systems
    }
    shared = [file for file in dict.fromkeys(r.file for r in results) if all(file in rows for rows in values.values())]
    own = {
        name: summarise(
            {system: [row[name] for row in rows.values()] for system, rows in values.items()},
            metric.higher_is_better,
            seed,
            ranked=False,
        )
        for name, metric in metrics.items()
    }
    if not shared:
        return shared, own, own
    compared = {
        name: summarise(
            {system: [rows[file][name] for file in shared] for system, rows in values.items()},
            metric.higher_is_better,
            seed,
        )
        for name, metric in metrics.items()
    }
    return shared, compared, own


def compared_results(
    results: Sequence[PairResult], systems: Sequence[str], shared: Sequence[str]
) -> dict[str, list[PairResult]]:
    """System → its results for the files that all systems have, or for all its own where they share none."""
    chosen = set(shared)
    return {
        system: [r for r in results if r.system == system and r.error is None and (r.file in chosen or not chosen)]
        for system in systems
    }
