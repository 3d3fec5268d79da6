"""Distributions as stacked histograms, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("tab:blue", "tab:orange", "0.6", "tab:red", "tab:green", "tab:purple")


@dataclass(frozen=True)
class HistogramPanel:
    """One distribution.

    Attributes:
        title: of the panel.
        unit: of the values; label of the axis.
        edges: of the bins, rising, (bins + 1,). The first and the last bin hold what lies beyond.
        counts: group → (bins,); groups are stacked in this order.
        bounds: places of dashed lines; those that are not finite or not on the axis are left out.
    """

    title: str
    unit: str
    edges: np.ndarray
    counts: Mapping[str, np.ndarray]
    bounds: Sequence[float] = ()


def save_histograms(path: str | Path, panels: Sequence[HistogramPanel], title: str) -> None:
    """Draws the panels side by side under one legend.

    Args:
        path: the PNG file, replaced atomically; its folder is made.
        panels: at least one; the groups are those of the first, and at most six.
        title: the line on top.
    """
    figure = new_figure(4.6)
    figure.suptitle(title, x=0.045, y=0.965, ha="left", fontsize=15, weight="bold")
    rows = figure.add_gridspec(1, len(panels), left=0.045, right=0.99, top=0.76, bottom=0.125, wspace=0.14)
    for index, panel in enumerate(panels):
        _draw(figure.add_subplot(rows[0, index]), panel)
    legend = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.037, 0.915), "ncols": len(legend)}
    figure.legend(list(legend.values()), list(legend), **place, frameon=False, fontsize=11)
    save_figure(figure, path)


def _draw(axes: Axes, panel: HistogramPanel) -> None:
    from matplotlib.ticker import MaxNLocator

    base = np.zeros(len(panel.edges) - 1)
    for (group, counts), color in zip(panel.counts.items(), COLORS, strict=False):
        axes.bar(panel.edges[:-1], counts, np.diff(panel.edges), bottom=base, align="edge", color=color, label=group)
        base = base + counts
    low, high = float(panel.edges[0]), float(panel.edges[-1])
    for bound in panel.bounds:
        if low <= bound <= high:
            axes.axvline(bound, color="black", linestyle="--", linewidth=1, label="bound")
    axes.set_xlim(low, high)
    axes.set_ylim(0, max(1.0, 1.05 * float(base.max())))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title(panel.title, loc="left", fontsize=12)
    axes.set_xlabel(panel.unit, fontsize=11)
    axes.tick_params(labelsize=10)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
