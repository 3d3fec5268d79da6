"""Target, estimate and their difference over time and frequency."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .figures import new_figure, save_figure
from .time_frequency import frequency_ticks
from .time_frequency import levels as _levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANGE_DB = 90.0
QUIET_TOP_DB = -30.0  # least top of the scale, so that a silent target looks silent
DIFFERENCE_DB = 20.0


def save_spectrograms(path: str | Path, preds: torch.Tensor, target: torch.Tensor, sample_rate: int) -> None:
    """Draws target | estimate | level difference in dB, one row per channel, 1400 pixels wide.

    Target and estimate share one colour scale, set by the target. Where both are below it the difference is 0.

    Args:
        path: the PNG file, replaced atomically; its folder is made.
        preds: estimate of shape (channels, time).
        target: the same shape.
        sample_rate: in Hz.

    Raises:
        ValueError: the shapes differ or are not (channels, time).
    """
    if preds.shape != target.shape or preds.ndim != 2 or 0 in preds.shape:
        raise ValueError(
            f"preds {tuple(preds.shape)} and target {tuple(target.shape)} must be the same (channels, time)"
        )
    levels = {"Target": _levels(target, sample_rate), "Estimate": _levels(preds, sample_rate)}
    loudest = float(np.max(levels["Target"], where=np.isfinite(levels["Target"]), initial=QUIET_TOP_DB))
    top = 5 * math.ceil(loudest / 5)
    bottom = top - RANGE_DB
    floored = {name: np.maximum(level, bottom) for name, level in levels.items()}  # NaN stays NaN

    channels = target.shape[0]
    names = {1: [""], 2: ["L", "R"]}.get(channels, [f"channel {index + 1}" for index in range(channels)])
    figure = new_figure(0.6 + 3.1 * channels, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    grid: Any = figure.subplots(channels, 3, sharex=True, sharey=True, squeeze=False)
    seconds = target.shape[1] / sample_rate
    for channel, row in enumerate(grid):
        difference = floored["Estimate"][channel] - floored["Target"][channel]
        panels = [
            (row[0], floored["Target"][channel], "magma", (bottom, top)),
            (row[1], floored["Estimate"][channel], "magma", (bottom, top)),
            (row[2], difference, "RdBu_r", (-DIFFERENCE_DB, DIFFERENCE_DB)),
        ]
        images = [_image(axes, level, colors, scale, seconds) for axes, level, colors, scale in panels]
        row[0].set_ylabel(f"{names[channel]}  (Hz)".strip(), fontsize=11)
    positions, labels = zip(*frequency_ticks(sample_rate), strict=True)
    grid[0][0].set_yticks(positions, labels)
    for axes, title in zip(grid[0], ("Target", "Estimate", "Estimate − target"), strict=True):
        axes.set_title(title, fontsize=13)
    for axes in grid[-1]:
        axes.set_xlabel("seconds", fontsize=11)
    for axes in grid.flat:
        axes.tick_params(labelsize=10)
    bars = [
        (images[1], grid[:, :2], "dBFS (full-scale sine = 0)", "min"),
        (images[2], grid[:, 2:], "dB, red: too loud", "both"),
    ]
    for image, over, label, extend in bars:
        bar = figure.colorbar(image, ax=over, pad=0.02, aspect=30, extend=extend)
        bar.set_label(label, fontsize=11)
        bar.ax.tick_params(labelsize=10)
    save_figure(figure, path)


def _image(axes: Axes, level: Any, colors: str, scale: tuple[float, float], seconds: float) -> Any:
    axes.set_facecolor("0.6")  # shows through where the level is NaN
    return axes.imshow(
        level,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, 1),
        cmap=colors,
        vmin=scale[0],
        vmax=scale[1],
        interpolation="nearest",
    )
