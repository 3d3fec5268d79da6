"""Learning curves: a metric of the held-out clip against rounds and against training time, seeds as a band."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..training.run.metrics_csv import MetricsCsv
from .training import Run

PREFIX = "held_out/"
SECONDS = f"{PREFIX}seconds"


@dataclass(frozen=True)
class Course:
    """What a run has measured as it went on.

    Attributes:
        seconds: round → training time so far.
        values: metric → round → value, where that is finite.
    """

    seconds: Mapping[int, float]
    values: Mapping[str, Mapping[int, float]]

    @property
    def end(self) -> tuple[int, float] | None:
        """Round and training time of the last measurement."""
        return (last := max(self.seconds), self.seconds[last]) if self.seconds else None

    @property
    def round_times(self) -> list[float]:
        """Seconds of each round between two measurements."""
        return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(sorted(self.seconds.items()))]


def read_course(run: Run) -> Course:
    """Reads a run's ``metrics.csv``; nothing where there is none."""
    try:
        series = MetricsCsv.read(run.folder.metrics_csv)
    except UserError:
        return Course({}, {})
    seconds = dict(series.get(SECONDS, []))
    return Course(
        seconds,
        {
            key.removeprefix(PREFIX): {
                step: value for step, value in points if step in seconds and math.isfinite(value)
            }
            for key, points in series.items()
            if key.startswith(PREFIX)
        },
    )


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


def learning_curve(courses: Sequence[Course], metric: str) -> Curve | None:
    """The curve of one variant's runs over the rounds that all of them have; None where nothing was measured."""
    known = [course for course in courses if course.values.get(metric)]
    if not known:
        return None
    rounds = sorted(set.intersection(*(set(course.values[metric]) for course in known)))
    values = [[course.values[metric][number] for course in known] for number in rounds]
    seconds = [sum(course.seconds[number] for course in known) / len(known) for number in rounds]
    means = [sum(row) / len(row) for row in values]
    return Curve(rounds, seconds, means, [min(row) for row in values], [max(row) for row in values], len(known))
