"""The frame of every picture: matplotlib's object interface (no global state, no display), written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
WIDTH = 14.0  # inches


def new_figure(height: float, **options: Any) -> Figure:
    """A white figure of 1400 pixels times ``height`` (in inches of 100 pixels)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes ``figure`` as PNG; makes its folder and replaces the file atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
