"""Learning curves: a metric of the held-out clip against rounds and against training time, seeds as a band."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..training.run.metrics_csv import MetricsCsv
from .training import Run

PREFIX = "held_out/"
SECONDS = f"{PREFIX}seconds"


@dataclass(frozen=True)
class Curve:
    """One variant's curve; all lists have one item per measurement.

    Attributes:
        rounds: finished rounds.
        seconds: mean training time of the seeds at that round.
        mean, low, high: of the seeds.
        seeds: how many there are.
    """

    rounds: list[int]
    seconds: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    seeds: int


def learning_curve(runs: Sequence[Run], metric: str) -> Curve | None:
    """The curve of one variant's runs over the rounds that all of them have; None where nothing was measured."""
    tables = [table for run in runs if (table := _table(run, metric))]
    if not tables:
        return None
    rounds = sorted(set.intersection(*(set(table) for table in tables)))
    values = [[table[number][0] for table in tables] for number in rounds]
    seconds = [sum(table[number][1] for table in tables) / len(tables) for number in rounds]
    means = [sum(row) / len(row) for row in values]
    return Curve(rounds, seconds, means, [min(row) for row in values], [max(row) for row in values], len(tables))


def training_seconds(run: Run) -> tuple[int, float] | None:
    """Rounds and training time at a run's last measurement."""
    table = _table(run, "si_sdr_db")
    return (last := max(table), table[last][1]) if table else None


def _table(run: Run, metric: str) -> dict[int, tuple[float, float]]:
    """round → (value, seconds)."""
    try:
        series = MetricsCsv.read(run.folder.metrics_csv)
    except UserError:
        return {}
    seconds = dict(series.get(SECONDS, []))
    points = series.get(f"{PREFIX}{metric}", [])
    return {step: (value, seconds[step]) for step, value in points if step in seconds and math.isfinite(value)}


def round_times(run: Run) -> list[float]:
    """Seconds of each round between a run's measurements."""
    table = sorted((step, seconds) for step, (_, seconds) in _table(run, "si_sdr_db").items())
    return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(table)]
