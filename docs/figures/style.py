"""What the figures share: size, colours, and SVG files that are the same on every run.

Each figure has a light ground of its own, so that it can be read on light and on dark pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
GROUND, INK, FAINT = "#fbfcfe", "#1d2433", "#c9d1de"
#: Distinguishable to people who see few colours: Okabe and Ito 2008.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

matplotlib.rcParams |= {
    "svg.fonttype": "none",
    "svg.hashsalt": "ear_sat",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": GROUND,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def new(height: float, **options: Any) -> Figure:
    """A figure eight inches wide."""
    return Figure(figsize=(8.0, height), facecolor=GROUND, layout="constrained", **options)


def save(figure: Figure, name: str) -> None:
    """Writes ``name``.svg beside the scripts."""
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, format="svg", metadata={"Date": None})
    print(path)
