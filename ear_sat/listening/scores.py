"""Scores of a MUSHRA test, over listeners."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev

from scipy.stats import t

from .answers import Rating

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """What listeners gave a version.

    Attributes:
        mean: of the listeners' means.
        low, high: 95 % interval of it by Student's t over the listeners' means; NaN for fewer than two listeners.
        median: of all ratings.
        listeners, ratings: how many.
    """

    mean: float
    low: float
    high: float
    median: float
    listeners: int
    ratings: int


def score(by_listener: Mapping[str, Sequence[Rating]], version: str, clip: str | None = None) -> Score | None:
    """The score of one version, of one clip or over all; None where nobody rated it.

    >>> found = score({"Ann": [Rating("a", "x", 40)], "Ben": [Rating("a", "x", 60)]}, "x")
    >>> found.mean, round(found.low, 1), round(found.high, 1)
    (50, -77.1, 177.1)
    """
    rows = [
        [rating.score for rating in ratings if rating.version == version and clip in (None, rating.clip)]
        for ratings in by_listener.values()
    ]
    rows = [row for row in rows if row]
    if not rows:
        return None
    means = [mean(row) for row in rows]
    half = math.nan
    if len(means) > 1:
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(means) - 1)) * stdev(means) / math.sqrt(len(means))
    centre = mean(means)
    everything = [value for row in rows for value in row]
    return Score(centre, centre - half, centre + half, median(everything), len(rows), len(everything))
