"""Means over tracks and seeds, their intervals, and the differences to the base."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..evaluate.summary import LEAST_FOR_A_LEAD

REPLICATES = 2000
CONFIDENCE = 0.95

Values = Mapping[int, Mapping[str, float]]
"""seed → track → value of one metric, NaN where undefined."""


@dataclass(frozen=True)
class Estimate:
    """A mean and the ends of its interval; NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Row:
    """One metric of one variant.

    Attributes:
        value: over all tracks and seeds where it is defined.
        difference: to the base, over the tracks and seeds that both have; None for the base itself.
        tracks, seeds: how many there are.
        above: of the differences of single tracks and seeds, how many are above 0.
        pairs: how many of those there are.
    """

    value: Estimate
    difference: Estimate | None
    tracks: int
    seeds: int
    above: int = 0
    pairs: int = 0

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval of the difference leaves 0 out, and there are tracks enough to say so."""
        if self.difference is None or self.tracks < LEAST_FOR_A_LEAD:
            return False
        return self.difference.low > 0 or self.difference.high < 0


def summarise(values: Mapping[str, Values], base: str, seed: int = 0) -> dict[str, Row]:
    """Summarises one metric of all variants.

    Tracks are resampled with replacement, and within each drawn track the seeds: the same draws for every variant, so
    that differences are those on the same tracks and from the same seeds. Percentile intervals of 95 %, of two tracks
    or more.

    Args:
        values: variant → seed → track → value.
        base: the variant to which the differences are taken, if it has values.
        seed: of the bootstrap.

    >>> rows = summarise({"a": {1: {"x": 1.0, "y": 2.0}}, "b": {1: {"x": 2.0, "y": 4.0}}}, "a")
    >>> rows["b"].value.mean, rows["b"].difference.mean, rows["b"].tracks, rows["b"].seeds
    (3.0, 1.5, 2, 1)
    """
    tracks = sorted({track for by_seed in values.values() for row in by_seed.values() for track in row})
    seeds = sorted({number for by_seed in values.values() for number in by_seed})
    tables = {name: _table(by_seed, seeds, tracks) for name, by_seed in values.items()}
    counts = _draws(len(seeds), len(tracks), seed) if tracks else np.zeros((REPLICATES, 0, 0))
    rows = {}
    for name, table in tables.items():
        difference, lead = None, np.zeros(0)
        if name != base and base in tables:
            with np.errstate(invalid="ignore"):  # infinity − infinity
                lead = table - tables[base]
            difference = _estimate(lead, counts)
        defined = ~np.isnan(table)
        rows[name] = Row(
            _estimate(table, counts),
            difference,
            int(defined.any(0).sum()),
            int(defined.any(1).sum()),
            int((lead > 0).sum()),
            int((~np.isnan(lead)).sum()),
        )
    return rows


def _table(by_seed: Values, seeds: list[int], tracks: list[str]) -> np.ndarray:
    """(seeds, tracks), NaN where there is nothing."""
    return np.array([[by_seed.get(s, {}).get(t, math.nan) for t in tracks] for s in seeds], dtype=float)


@lru_cache(maxsize=4)
def _draws(seeds: int, tracks: int, seed: int) -> np.ndarray:
    """How often each seed of each track is in each resample, (REPLICATES, seeds, tracks)."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((REPLICATES, seeds, tracks))
    for counted in counts:
        times = rng.multinomial(tracks, np.full(tracks, 1 / tracks))
        for track, number in enumerate(times):
            counted[:, track] = rng.multinomial(seeds * number, np.full(seeds, 1 / seeds))
    return counts


def _estimate(table: np.ndarray, counts: np.ndarray) -> Estimate:
    defined = ~np.isnan(table)
    if not defined.any():
        return Estimate(math.nan)
    mean = float(table[defined].mean())
    if int(defined.any(0).sum()) < 2 or not np.isfinite(table[defined]).all():
        return Estimate(mean)
    total = (counts * defined).sum((1, 2))
    with np.errstate(invalid="ignore"):  # 0 / 0
        means = (counts * np.where(defined, table, 0.0)).sum((1, 2)) / total
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(means, [tail, 100 - tail])
    return Estimate(mean, float(low), float(high))
