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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
        versions: of the software.
        began: seconds since 1970.
    """

    settings: dict[str, Any]
    reference: str
    estimates: dict[str, str]
    unmatched: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
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


def read_log(out: Path) -> tuple[RunInfo, list[PairResult]] | None:
    """The newest run below ``out``, and the results of all that measured as it did; None where there is none.

    Of a pair that was measured again, the last result counts.
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
    same = [results for info, results in runs if (info.settings, info.versions) == (newest.settings, newest.versions)]
    latest = {(result.file, result.system): result for results in same for result in results}
    return newest, list(latest.values())


def _info(line: Mapping[str, Any]) -> RunInfo | None:
    try:
        return RunInfo(**line["run"])
    except (KeyError, TypeError):
        return None


def _result(line: Mapping[str, Any]) -> PairResult | None:
    """The result in a line; None where the line is another one, or of another version."""
    try:
        return PairResult.from_json(line["result"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
