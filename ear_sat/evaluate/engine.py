"""The whole of an evaluation: pair, measure what is missing, summarise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..checks import require_whole
from ..codecs import CodecFacts
from ..metrics import METRICS
from ..processes import Runner, cores
from .cache import ResultCache, measure_and_keep
from .measure import PairResult
from .pairing import Pair, Pairing
from .summary import Summary, summarise


@dataclass(frozen=True)
class Evaluation:
    """Results of all pairs and their summaries.

    Attributes:
        reference: folder or file of the references.
        estimates: system → folder or file.
        align: whether detected offsets were taken out.
        seed: of the bootstrap.
        pairing: pairs, unmatched files, notes.
        results: one per pair, in their order.
        shared: files that every system has a result for.
        summaries: metric → system → summary over the shared files, ranked; over each system's own files and not ranked
            where no file is shared.
        own_summaries: the same over each system's own files.
        codecs: system → what its codec costs, of those that were computed here.
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
    codecs: Mapping[str, CodecFacts] = field(default_factory=dict)

    @property
    def systems(self) -> list[str]:
        return list(self.estimates)

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
    if given is not None:
        require_whole("--processes", given, at_least=1)
    return max(1, min(given or cores(), jobs))


def measure_missing(
    pairs: Sequence[Pair], known: Sequence[PairResult], cache: ResultCache, align: bool, run: Runner
) -> list[PairResult]:
    """Results of all pairs in their order; measures those not ``known``, with a progress bar."""
    done = {(result.file, result.system): result for result in known}
    missing = [pair for pair in pairs if (pair.file, pair.system) not in done]
    jobs = [(pair, align, cache.path(pair)) for pair in missing]
    failed = 0
    with tqdm(total=len(pairs), initial=len(known), unit="pair", disable=None) as bar:
        for index, result in run(measure_and_keep, jobs):
            done[missing[index].file, missing[index].system] = result
            failed += result.error is not None
            bar.set_postfix_str(f"{failed} failed" if failed else "")
            bar.update()
    return [done[pair.file, pair.system] for pair in pairs]


def summarise_results(
    results: Sequence[PairResult], systems: Sequence[str], seed: int
) -> tuple[list[str], dict[str, dict[str, Summary]], dict[str, dict[str, Summary]]]:
    """(shared files, summaries for comparison, summaries over each system's own files)."""
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
        for name, metric in METRICS.items()
    }
    if not shared:
        return shared, own, own
    compared = {
        name: summarise(
            {system: [rows[file][name] for file in shared] for system, rows in values.items()},
            metric.higher_is_better,
            seed,
        )
        for name, metric in METRICS.items()
    }
    return shared, compared, own
