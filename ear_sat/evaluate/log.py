"""Measured pairs on disk, appended as they come: a second run, of whatever kind, measures only what is missing.

``out/rows/RANK.jsonl`` holds for every run a line that says how it measured (:class:`RunInfo`), and then a line for
every pair. Ranks have files of their own, so that several may write into one folder, and all read those of all.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..codecs import CodecFacts
from ..json_lines import JsonLines, read_lines
from .measure import PairResult
from .pairing import Pair, Unmatched
from .provenance import identity, measured_with

FOLDER = "rows"


@dataclass(frozen=True)
class RunInfo:
    """How the pairs after it were measured.

    Attributes:
        settings: what the values depend on beside the files.
        reference, estimates: where the files were.
        unmatched, notes: see :class:`.pairing.Pairing`.
        codecs: system → what its codec costs, where that is known.
        embeddings: for which a Fréchet audio distance was asked.
        versions: of the software.
        began: seconds since 1970.
    """

    settings: dict[str, Any]
    reference: str
    estimates: dict[str, str]
    unmatched: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    codecs: dict[str, CodecFacts] = field(default_factory=dict)
    embeddings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=measured_with)
    began: float = field(default_factory=time.time)

    def unmatched_files(self) -> list[Unmatched]:
        """:attr:`unmatched` as it was."""
        return [Unmatched(e["side"], e["system"], Path(e["path"]), e["reason"]) for e in self.unmatched]


class ResultLog:
    """The pairs measured below ``out``.

    A pair is known by path, size and time of change of both files, the settings, the versions of the libraries and a
    digest of the metrics' source. Pairs that failed are measured again by the next run.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], rank: int = 0) -> None:
        self.folder = out / FOLDER
        self.settings = dict(settings)
        self._path = self.folder / f"{rank}.jsonl"

    def key(self, pair: Pair) -> str:
        """By which the result of ``pair`` is known."""
        parts = {
            "pair": [pair.file, pair.system],
            "files": [identity(pair.reference), identity(pair.estimate)],
            "settings": self.settings,
            "versions": measured_with(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def read(self, pairs: Sequence[Pair]) -> list[PairResult]:
        """The finished ones of ``pairs``, in their order."""
        keys = [self.key(pair) for pair in pairs]
        wanted, found = set(keys), {}
        for file in sorted(self.folder.glob("*.jsonl")):
            for line in read_lines(file):
                if line.get("key") in wanted and (result := _result(line)) and result.error is None:
                    found[line["key"]] = result
        return [found[key] for key in keys if key in found]

    @contextmanager
    def writing(self, info: RunInfo) -> Iterator[Callable[[str, PairResult], None]]:
        """Yields a function that keeps the result of a key; it is on the disk when the function returns."""
        with JsonLines(self._path) as lines:
            lines.append({"run": asdict(info)})
            yield lambda key, result: lines.append({"key": key, "result": result.to_json()})

    def tell(self, info: RunInfo) -> None:
        """Keeps what there is to say of a run that measured nothing, unless the one before said the same."""
        lines = read_lines(self._path) if self._path.exists() else ()
        told = [found for line in lines if (found := _info(line))]
        if not told or replace(told[-1], began=info.began) != info:
            with JsonLines(self._path) as file:
                file.append({"run": asdict(info)})


def read_log(out: Path) -> tuple[RunInfo, list[PairResult]] | None:
    """The newest run below ``out`` and the results of all that measured as it did; None where there is none.

    Of a pair that was measured again, the last result counts. Of a system that the newest run has not, the newest run
    that has it tells where it was, what its codec costs and what found no counterpart.
    """
    runs: list[tuple[RunInfo, list[PairResult]]] = []
    for file in sorted((out / FOLDER).glob("*.jsonl")):
        results: list[PairResult] = []
        for line in read_lines(file):
            if info := _info(line):
                runs.append((info, results := []))
            elif result := _result(line):
                results.append(result)
    if not runs:
        return None
    runs.sort(key=lambda run: run[0].began)
    newest = runs[-1][0]
    same = [run for run in runs if (run[0].settings, run[0].versions) == (newest.settings, newest.versions)]
    latest = {(result.file, result.system): result for _, results in same for result in results}
    return _united([info for info, _ in same]), list(latest.values())


def _united(infos: Sequence[RunInfo]) -> RunInfo:
    """The last of ``infos``, with what earlier ones say of other systems."""
    told_by = {system: info for info in infos for system in info.estimates}
    notes = []
    for system in told_by:
        given = (info.estimates[system] for info in infos if system in info.estimates)
        places = {Path(place).resolve(): place for place in given}
        if len(places) > 1:
            notes.append(
                f"{system} was measured in {' and in '.join(places.values())}; the last result of each file counts"
            )
    return replace(
        infos[-1],
        estimates={system: info.estimates[system] for system, info in told_by.items()},
        unmatched=[e for s, info in told_by.items() for e in info.unmatched if e["system"] == s],
        notes=[*infos[-1].notes, *notes],
        codecs={system: info.codecs[system] for system, info in told_by.items() if system in info.codecs},
        embeddings=list(dict.fromkeys(model for info in infos for model in info.embeddings)),
    )


def _info(line: Mapping[str, Any]) -> RunInfo | None:
    try:
        run = line["run"]
        codecs = {system: CodecFacts(**facts) for system, facts in run.get("codecs", {}).items()}
        return RunInfo(**{**run, "codecs": codecs})
    except (KeyError, TypeError, AttributeError):
        return None


def _result(line: Mapping[str, Any]) -> PairResult | None:
    """The result in a line; None where the line is another one, or of another version."""
    try:
        return PairResult.from_json(line["result"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
