"""Means over files with bootstrap confidence intervals, and who is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

REPLICATES = 2000
BLOCK = 50  # replicates computed at a time: little memory for thousands of files
CONFIDENCE = 0.95
LEAST_FOR_A_LEAD = 6  # files; of five, one system leads in all by chance in 2·2⁻⁵ = 6 % of cases


@dataclass(frozen=True)
class Summary:
    """One system and one metric over a set of files.

    Attributes:
        mean: over the files where the metric is defined; NaN if there is none.
        low, high: bootstrap confidence interval of the mean; NaN for fewer than two files.
        files: how many files the mean is over.
        undefined: how many were left out because the metric is undefined for them.
        rank: 1 best, 2 second best, …; None where the order means nothing (one system, no value).
        tied: the best system's lead is not beyond chance: the interval of the paired difference holds 0, or there are
            fewer than six files, of which not even a lead in every one would be beyond it.
    """

    mean: float
    low: float
    high: float
    files: int
    undefined: int
    rank: int | None = None
    tied: bool = False


def summarise(
    values: Mapping[str, Sequence[float]], higher_is_better: bool, seed: int = 0, ranked: bool = True
) -> dict[str, Summary]:
    """Summarises one metric.

    Files are resampled with replacement, the same draw for every system, so that differences between systems are
    differences on the same files. Percentile intervals of 95 %.

    Args:
        values: system → values, NaN where undefined; with ``ranked``, position i is the same file for every system.
        higher_is_better: direction.
        seed: of the bootstrap.
        ranked: whether to rank; only sensible where the systems share their files.

    >>> summary = summarise({"a": [1.0, 2.0, 3.0], "b": [1.5, 2.5, math.nan]}, higher_is_better=True)
    >>> [(s.mean, s.files, s.undefined, s.rank) for s in summary.values()]
    [(2.0, 3, 0, 1), (2.0, 2, 1, 1)]
    """
    tables = {system: np.asarray(list(row), dtype=float) for system, row in values.items()}
    replicates = {system: _bootstrap_means(row, seed) for system, row in tables.items()}
    means = {system: _mean(row) for system, row in tables.items()}
    order = sorted((mean for mean in means.values() if not math.isnan(mean)), reverse=higher_is_better)
    ranked = ranked and len(order) > 1
    best = next((system for system, mean in means.items() if order and mean == order[0]), None)
    result = {}
    for system, row in tables.items():
        low, high = _interval(replicates[system], row)
        rank = order.index(means[system]) + 1 if ranked and not math.isnan(means[system]) else None
        tied = False
        if rank is not None and rank > 1 and best is not None:
            with np.errstate(invalid="ignore"):  # infinity − infinity
                difference = row - tables[best]
                lead_low, lead_high = _interval(replicates[system] - replicates[best], difference)
            tied = lead_low <= 0 <= lead_high or int(np.isfinite(difference).sum()) < LEAST_FOR_A_LEAD
        undefined = int(np.isnan(row).sum())
        result[system] = Summary(means[system], low, high, len(row) - undefined, undefined, rank, tied)
    return result


def _mean(row: np.ndarray) -> float:
    defined = row[~np.isnan(row)]
    return float(defined.mean()) if len(defined) else math.nan


def _bootstrap_means(row: np.ndarray, seed: int) -> np.ndarray:
    """Means of :data:`REPLICATES` resamples of the files, (REPLICATES,); NaN where a resample has no value."""
    count = len(row)
    if count == 0:
        return np.full(REPLICATES, math.nan)
    defined = ~np.isnan(row)
    numbers, means = np.where(defined, row, 0.0), []
    with np.errstate(invalid="ignore"):  # 0 / 0, and 0 × infinity
        for block in np.split(_draws(count, seed), REPLICATES // BLOCK):
            drawn = block.astype(np.float32)
            means.append((drawn @ numbers) / (drawn @ defined))
    return np.concatenate(means)


@lru_cache(maxsize=2)
def _draws(count: int, seed: int) -> np.ndarray:
    """How often each of ``count`` files is in each resample, (REPLICATES, count)."""
    rng, shares = np.random.default_rng(seed), np.full(count, 1 / count)
    drawn = np.empty((REPLICATES, count), np.uint8)  # one file 256 times: not in the age of the universe
    for first in range(0, REPLICATES, BLOCK):
        drawn[first : first + BLOCK] = rng.multinomial(count, shares, size=BLOCK)
    return drawn


def _interval(replicates: np.ndarray, row: np.ndarray) -> tuple[float, float]:
    finite = replicates[np.isfinite(replicates)]
    if np.isfinite(row).sum() < 2 or len(finite) < len(replicates) / 2:
        return math.nan, math.nan
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)
