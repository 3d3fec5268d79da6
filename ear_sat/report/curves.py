"""All metrics of a run as a grid of small panels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import DPI, WIDTH, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[int, float]]

COLUMNS = 4
PANEL_HEIGHT = 1.3  # inches, as all below
GAP = 0.62  # between two rows of panels: tick labels and panel titles
HEADING = 0.34
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 0.75, 0.2, 0.75, 0.5, 0.72
MARK_COLORS = ("tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan")


def save_curves(
    path: str | Path, series: Mapping[str, Points], title: str, marks: Mapping[int, str] | None = None
) -> None:
    """Draws one small panel per key, the keys of a group (``train/loss/…``) under one heading, 1400 pixels wide.

    Faint: the values; strong: their running mean over about a thirtieth of the run (of schedules: the values). A panel
    whose values are positive and spread over more than a factor of 100 has a logarithmic axis. Its corner shows the
    latest value; what is not finite is left out and counted there.

    Args:
        path: the PNG file, replaced atomically; its folder is made.
        series: ``(step, value)`` pairs by key; see :class:`ear_sat.training.run.metrics_csv.MetricsCsv`.
        title: the line on top.
        marks: names of what begins at a step, such as training phases: dashed lines, named on top.
    """
    save_figure(_curves({key: points for key, points in series.items() if points}, title, dict(marks or {})), path)


def _curves(series: Mapping[str, Points], title: str, marks: Mapping[int, str]) -> Figure:
    groups = _groups(list(series))
    row_count = sum(math.ceil(len(keys) / COLUMNS) for keys in groups.values())
    height = TOP + BOTTOM + len(groups) * HEADING + max(1, row_count) * (PANEL_HEIGHT + GAP)
    figure = new_figure(round(height * DPI) / DPI)
    figure.text(LEFT / WIDTH, 1 - 0.3 / height, title, fontsize=15, weight="bold", va="center")
    colors = {step: MARK_COLORS[index % len(MARK_COLORS)] for index, step in enumerate(sorted(marks))}
    _name_marks(figure, marks, colors, 1 - 0.6 / height)
    if not series:
        figure.text(0.5, 0.4, "no metrics yet", fontsize=13, color="0.4", ha="center")
    steps = [step for points in series.values() for step, _ in points]
    width = (WIDTH - LEFT - RIGHT - (COLUMNS - 1) * BETWEEN) / COLUMNS
    y = height - TOP
    for group, keys in groups.items():
        y -= HEADING
        figure.text(LEFT / WIDTH, (y + 0.12) / height, group, fontsize=12, weight="bold", color="tab:blue", va="center")
        for index, key in enumerate(keys):
            column = index % COLUMNS
            if column == 0:
                y -= PANEL_HEIGHT + GAP
            left = LEFT + column * (width + BETWEEN)
            axes = figure.add_axes((left / WIDTH, (y + 0.3) / height, width / WIDTH, PANEL_HEIGHT / height))
            _panel(axes, key.removeprefix(f"{group}/"), series[key], (min(steps), max(steps)), colors)
    figure.text(0.5, 0.2 / height, "round", fontsize=11, ha="center", va="center")
    return figure


def _groups(keys: Sequence[str]) -> dict[str, list[str]]:
    """Keys by their first two parts, or by the first where there are only two or the group would have one key.

    Keys of one part only are in the group ``other``.

    >>> _groups(["train/loss/kl", "val/snr_db", "train/loss/l1", "train/time/round"])
    {'train/loss': ['train/loss/kl', 'train/loss/l1'], 'val': ['val/snr_db'], 'train': ['train/time/round']}
    """
    fine = {key: "/".join(key.split("/")[: min(2, key.count("/"))]) for key in keys}
    sizes = list(fine.values())
    groups: dict[str, list[str]] = {}
    for key, group in fine.items():
        coarse = key.split("/")[0] if "/" in key else "other"
        groups.setdefault(group if group and sizes.count(group) > 1 else coarse, []).append(key)
    return groups


def _name_marks(figure: Figure, marks: Mapping[int, str], colors: Mapping[int, str], y: float) -> None:
    if not marks:
        return
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colors[step], linestyle="--") for step in sorted(marks)]
    names = [f"{marks[step]} from {step:,}" for step in sorted(marks)]
    figure.legend(
        lines,
        names,
        loc="center left",
        bbox_to_anchor=(LEFT / WIDTH, y),
        ncols=len(names),
        frameon=False,
        fontsize=10,
        borderpad=0,
        borderaxespad=0,
    )


def _panel(axes: Axes, name: str, points: Points, span: tuple[int, int], marks: Mapping[int, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    every = np.array(points, dtype=float)
    steps, values = every[np.isfinite(every[:, 1])].T
    for step, color in marks.items():
        axes.axvline(step, color=color, linestyle="--", linewidth=1)
    if len(values):
        smoothed = values if _is_schedule(values) else _smooth(values)
        few = len(values) <= 30
        axes.plot(steps, values, color="tab:blue", alpha=0.3, linewidth=0.8, marker="o" if few else "", markersize=3)
        axes.plot(steps, smoothed, color="tab:blue", linewidth=1.6)
        _value_axis(axes, values, smoothed)
    else:
        axes.set_yticks([])
    margin = max(1.0, 0.02 * (span[1] - span[0]))
    axes.set_xlim(span[0] - margin, span[1] + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(lambda step, _: _short(step))
    axes.tick_params(labelsize=9, length=3)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title(name if len(name) <= 26 else f"{name[:12]}…{name[-13:]}", loc="left", fontsize=10)
    lost = len(every) - len(values)
    if lost:
        axes.set_title(f"{lost} not finite", loc="right", fontsize=10, color="tab:red")
    else:
        axes.set_title(f"{values[-1]:.4g}", loc="right", fontsize=10, color="0.35")


def _is_schedule(values: np.ndarray[Any, Any]) -> bool:
    """Whether the values are set rather than measured, such as learning rates: most repeat the one before or its slope.

    >>> _is_schedule(np.array([0.0, 0.1, 0.2, 0.3, 0.3, 0.3])), _is_schedule(np.array([0.3, 0.1, 0.2, 0.5, 0.4, 0.3]))
    (True, False)
    """
    bends = np.abs(np.diff(values, 2))
    return len(bends) > 0 and bool(np.median(bends) <= 1e-6 * np.ptp(values))


def _smooth(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Centred running mean over a thirtieth of the values, so that it does not lag; over fewer at the ends.

    >>> _smooth(np.array([2.0, 2.0, 5.0])).tolist()
    [2.0, 2.0, 5.0]
    """
    half = len(values) // 60
    index = np.arange(len(values))
    first, after = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[after] - total[first]) / (after - first)


def _value_axis(axes: Axes, values: np.ndarray[Any, Any], smoothed: np.ndarray[Any, Any]) -> None:
    """Limits that spikes do not blow up, and a logarithmic scale where the values need one."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    low, high = np.percentile(values, [1, 99]) if len(values) > 50 else (values.min(), values.max())
    low, high = float(min(low, smoothed.min())), float(max(high, smoothed.max()))
    if values.min() > 0 and high > 100 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))


def _short(value: float) -> str:
    """A tick label of few characters.

    >>> [_short(value) for value in (0, 0.25, 2500, 20000, 1500000, 0.00005)]
    ['0', '0.25', '2.5k', '20k', '1.5M', '5e-5']
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{unit}"
    text = f"{value:.6g}"
    return text.replace("e-0", "e-") if "e" in text else text
