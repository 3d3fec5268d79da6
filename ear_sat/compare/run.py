"""One call from a plan to a page: train what is missing, measure what is missing, compare."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from ..config import check_choice
from ..engines import check_engine, runner
from ..errors import UserError
from ..evaluate.measure import PairResult
from ..files import disk_errors, make_folder
from ..metrics import METRICS
from ..training.section import check_model_config
from .curves import Course, read_course
from .measuring import Measurement, measure_run, tracks_of
from .plan import TEST, Plan
from .statistics import Row, summarise
from .training import Run, check_unchanged, runs_of, settings_of, train_run

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Comparison:
    """What is known about a plan.

    Attributes:
        plan: the plan.
        out: the folder of the comparison.
        seed: of the bootstrap.
        runs: those that are finished.
        failures: what went wrong, sentences by run.
        measurements: set of tracks → run → its measurement, of the finished runs.
        results: set of tracks → run → track → result.
        summaries: set of tracks → metric → variant → row; of the variants that are measured on it.
        courses: run → what it measured as it went on.
    """

    plan: Plan
    out: Path
    seed: int
    runs: list[Run]
    failures: dict[Run, str]
    measurements: dict[str, dict[Run, Measurement]] = field(default_factory=dict)
    results: dict[str, dict[Run, dict[str, PairResult]]] = field(default_factory=dict)
    summaries: dict[str, dict[str, dict[str, Row]]] = field(default_factory=dict)
    courses: dict[Run, Course] = field(default_factory=dict)

    def runs_of(self, variant: str) -> list[Run]:
        """The finished runs of a variant, by seed."""
        return sorted((run for run in self.runs if run.variant == variant), key=lambda run: run.seed)


def compare(
    plan: Plan,
    out: Path,
    *,
    only: Sequence[str] | None = None,
    confirm: Sequence[str] = (),
    processes: int = 1,
    engine: str = "local",
    device: str = "auto",
    seed: int = 0,
) -> Comparison:
    """Trains and measures what is missing; what is finished is not done again.

    Args:
        plan: the plan.
        out: folder with ``runs/``, ``results/`` and ``excerpts/``; plans that share variants can share it.
        only: variants to work on; the others stay as they are.
        confirm: variants to measure on the test tracks as well.
        processes: runs at a time.
        engine: ``"local"`` processes, or ``"ray"``, whose machines must share ``out`` and the music.
        device: to train and to reconstruct on.
        seed: of the bootstrap.

    Raises:
        UserError: a plan that cannot be trained, runs of another plan in ``out``, a full disk.
    """
    check_engine(engine, processes)
    check_choice("device", device, DEVICES)
    for name in [*(only or ()), *confirm]:
        plan.variant(name)
    if confirm and TEST not in plan.tracks:
        raise UserError(f"there are no test tracks to confirm on; give --tracks {TEST}=FOLDER")
    wanted = runs_of(plan, out, None if only is None else list(only))
    settings = {variant.name: settings_of(plan, variant) for variant in plan.variants}
    for variant in plan.variants:
        try:
            check_model_config(variant.config)
        except UserError as error:
            raise UserError(f"variant {variant.name}: {error}") from None
    for run in runs_of(plan, out):
        check_unchanged(run, settings[run.variant])
    sets = [name for name in plan.tracks if name != TEST or confirm]
    for name in sets:
        if not tracks_of(plan.tracks[name]):
            raise UserError(f"tracks {name}: there is no audio in {plan.tracks[name]}; give a folder of music")
    with disk_errors(out):
        make_folder(out)
        failures: dict[Run, str] = {}
        jobs = []
        for run in wanted:
            found = [m for n in sets if (m := _measurement(plan, run, n)) and (n != TEST or run.variant in confirm)]
            jobs.append((run, settings[run.variant], found, device))
        with (
            _ended_by_sigterm(),
            runner(engine, processes, default=1) as make,
            tqdm(total=len(jobs), unit="run", disable=None) as bar,
        ):
            for index, why in make(work, jobs):
                if why is not None:
                    failures[wanted[index]] = why
                bar.update()
        return read_comparison(plan, out, seed, failures)


def work(run: Run, settings: dict[str, Any], measurements: Sequence[Measurement], device: str) -> str | None:
    """Trains and measures one run; returns why it failed, or None. Runs in a worker process."""
    why = train_run(run, settings, device)
    if why is None:
        for measurement in measurements:
            measure_run(measurement, device)
    return why


def read_comparison(plan: Plan, out: Path, seed: int = 0, failures: dict[Run, str] | None = None) -> Comparison:
    """What is known about a plan without doing anything."""
    runs = [run for run in runs_of(plan, out) if run.finished]
    courses = {run: read_course(run) for run in runs}
    comparison = Comparison(plan, out, seed, runs, dict(failures or {}), courses=courses)
    for name in plan.tracks:
        for run in runs:
            measurement = _measurement(plan, run, name)
            if results := measurement.results():
                comparison.measurements.setdefault(name, {})[run] = measurement
                comparison.results.setdefault(name, {})[run] = results
    for name, by_run in comparison.results.items():
        comparison.summaries[name] = _summaries(by_run, plan.base.name, seed)
    return comparison


def _summaries(results: Mapping[Run, Mapping[str, PairResult]], base: str, seed: int) -> dict[str, dict[str, Row]]:
    """metric → variant → row, over one set of tracks."""
    by_variant: dict[str, dict[int, dict[str, PairResult]]] = {}
    for run, by_track in results.items():
        if good := {track: result for track, result in by_track.items() if result.error is None}:
            by_variant.setdefault(run.variant, {})[run.seed] = good
    return {
        metric: summarise(
            {
                variant: {
                    number: {track: result.values[metric] for track, result in by_track.items()}
                    for number, by_track in by_seed.items()
                }
                for variant, by_seed in by_variant.items()
            },
            base,
            seed,
        )
        for metric in METRICS
    }


def _measurement(plan: Plan, run: Run, tracks: str) -> Measurement:
    return Measurement(run, tracks, plan.tracks[tracks])


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves by way of the trainings, which write their checkpoints first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
