"""What the summary and the pictures need of a manifest, gathered row by row."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .measurement import Row
from .rules import DECISIONS


@dataclass
class Tally:
    """A number of tracks and their length."""

    tracks: int = 0
    seconds: float = 0.0

    def add(self, row: Row) -> None:
        self.tracks += 1
        self.seconds += row.get("duration") or 0.0


class Histogram:
    """Counts by decision in bins of equal width; what lies outside counts in the first or last bin.

    >>> histogram = Histogram(0.0, 10.0, bins=5)
    >>> for value in (1.0, 3.0, 99.0):
    ...     histogram.add(value, "keep")
    >>> histogram.counts["keep"].tolist()
    [1, 1, 0, 0, 1]
    """

    def __init__(self, low: float, high: float, bins: int) -> None:
        self.edges = np.linspace(low, high, bins + 1)
        self.counts: dict[str, NDArray[np.int64]] = {name: np.zeros(bins, np.int64) for name in DECISIONS}

    def add(self, value: float | None, decision: str) -> None:
        """Counts ``value``, unless it is None."""
        if value is not None:
            low, high, bins = float(self.edges[0]), float(self.edges[-1]), len(self.edges) - 1
            place = math.floor((value - low) / (high - low) * bins)
            self.counts[decision][min(bins - 1, max(0, place))] += 1


@dataclass
class Statistics:
    """Of all rows that went through :meth:`add`.

    Attributes:
        by_decision: decision → tracks and length.
        by_first_reason: the first reason of each track that has one → tracks and length.
        by_reason: reason → tracks that it applies to.
        loudness, peak, bandwidth: distributions of loudness_lufs, true_peak_dbtp and bandwidth_hz.
        members: decision → tracks that lie in shards.
    """

    by_decision: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in DECISIONS})
    by_first_reason: dict[str, Tally] = field(default_factory=dict)
    by_reason: Counter[str] = field(default_factory=Counter)
    loudness: Histogram = field(default_factory=lambda: Histogram(-50, 0, bins=100))
    peak: Histogram = field(default_factory=lambda: Histogram(-15, 5, bins=100))
    bandwidth: Histogram = field(default_factory=lambda: Histogram(0, 24000, bins=96))
    members: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> Tally:
        """All tracks."""
        tallies = self.by_decision.values()
        return Tally(sum(tally.tracks for tally in tallies), sum(tally.seconds for tally in tallies))

    def add(self, row: Row) -> None:
        """Takes a row of the manifest into account."""
        decision = row["decision"]
        self.by_decision[decision].add(row)
        reasons = row["reason"].split(";") if row["reason"] else []
        if reasons:
            self.by_first_reason.setdefault(reasons[0], Tally()).add(row)
        self.by_reason.update(reasons)
        self.loudness.add(row.get("loudness_lufs"), decision)
        self.peak.add(row.get("true_peak_dbtp"), decision)
        self.bandwidth.add(row.get("bandwidth_hz"), decision)
