"""Distributions as strips: every value a dot beside the box of its quartiles; positions for an SVG, no drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MAX_DOTS = 300  # per strip; of more values the extremes and an even choice of the rest are shown
LEAST_FOR_BOX = 5  # values; fewer have no quartiles to speak of
FENCE = 3.0  # quartile ranges beyond which a value is drawn at the edge: Tukey's "far out"
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Dot:
    """``x`` from 0 (left) to 1, ``y`` from −1 to 1 across the strip; ``outside``: it lies beyond the axis."""

    x: float
    y: float
    label: str
    value: float
    outside: bool


@dataclass(frozen=True)
class Strip:
    """One row: quartiles on the axis (None for fewer than five values), dots, and how many values there are."""

    name: str
    box: tuple[float, float, float] | None
    dots: tuple[Dot, ...]
    count: int


@dataclass(frozen=True)
class StripPlot:
    """Rows on one axis; ``ticks`` are positions from 0 to 1 with labels."""

    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]


def strip_plot(values: Mapping[str, Mapping[str, float]]) -> StripPlot:
    """Lays out one strip per row of ``values``: row name → label → value. NaN is left out, infinity at the edge.

    >>> plot = strip_plot({"a": {"x": 1.0, "y": 3.0}, "b": {"x": 2.0, "y": float("nan")}})
    >>> [(strip.name, strip.count, len(strip.dots)) for strip in plot.strips]
    [('a', 2, 2), ('b', 1, 1)]
    >>> [label for _, label in plot.ticks]
    ['1.0', '1.5', '2.0', '2.5', '3.0']
    """
    tables = {name: {label: v for label, v in row.items() if not math.isnan(v)} for name, row in values.items()}
    finite = {name: np.array([v for v in row.values() if math.isfinite(v)]) for name, row in tables.items()}
    low, high = _limits(list(finite.values()))
    strips = []
    for name, row in tables.items():
        box = None
        if len(finite[name]) >= LEAST_FOR_BOX:
            first, middle, third = (place(float(q), low, high) for q in np.percentile(finite[name], [25, 50, 75]))
            box = (first, middle, third)
        shown = _thin_out(row)
        dots = tuple(
            Dot(
                place(value, low, high),
                2 * ((index * _GOLDEN) % 1) - 1,  # spread evenly, and the same on every run
                label,
                value,
                not low <= value <= high,
            )
            for index, (label, value) in enumerate(shown.items())
        )
        strips.append(Strip(name, box, dots, len(row)))
    return StripPlot(tuple(strips), axis_ticks(low, high))


def _limits(rows: Sequence[np.ndarray]) -> tuple[float, float]:
    """Ends of the axis: all values, but for those far out."""
    rows = [row for row in rows if len(row)]
    if not rows:
        return 0.0, 1.0
    ends = []
    for row in rows:
        first, third = np.percentile(row, [25, 75])
        reach = FENCE * (third - first)
        inside = row[(row >= first - reach) & (row <= third + reach)]
        ends += [float(inside.min()), float(inside.max())]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def place(value: float, low: float, high: float) -> float:
    """Position of ``value`` between ``low`` (0) and ``high`` (1), held within them."""
    return min(1.0, max(0.0, (value - low) / (high - low))) if math.isfinite(value) else float(value > 0)


def _thin_out(row: Mapping[str, float]) -> dict[str, float]:
    if len(row) <= MAX_DOTS:
        return dict(row)
    labels = sorted(row, key=lambda label: row[label])
    kept = np.unique(np.linspace(0, len(labels) - 1, MAX_DOTS).round().astype(int))
    return {labels[index]: row[labels[index]] for index in kept}


def axis_ticks(low: float, high: float, most: int = 5) -> tuple[tuple[float, str], ...]:
    """Round numbers between ``low`` and ``high``: position from 0 to 1, and label.

    >>> axis_ticks(0.0, 1.0)
    ((0.0, '0.0'), (0.2, '0.2'), (0.4, '0.4'), (0.6..., '0.6'), (0.8, '0.8'), (1.0, '1.0'))
    """
    from matplotlib.ticker import MaxNLocator

    places = [float(tick) for tick in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    step = places[1] - places[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:  # steps of 2.5 or 0.25
        digits += 1
    return tuple((place(t, low, high), f"{t + 0.0:.{digits}f}") for t in places if low <= t <= high)
