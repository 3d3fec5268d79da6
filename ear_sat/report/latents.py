"""Picture of an autoencoder's latents, channel by channel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALIVE, DEAD, FAINT = "tab:blue", "tab:red", "0.75"
SMALLEST = 1e-6  # what is shown of smaller values: one axis is logarithmic


def save_latent_plot(
    path: str | Path,
    *,
    mean: Sequence[float] | np.ndarray,
    std: Sequence[float] | np.ndarray,
    posterior_std: Sequence[float] | np.ndarray,
    kl: Sequence[float] | np.ndarray,
    dead: Sequence[bool] | np.ndarray,
    dead_below: float,
    scale: float,
    eigenvalues: Sequence[float] | np.ndarray,
    effective_rank: float,
    band_edges: Sequence[float] | np.ndarray,
    spectrum: Sequence[float] | np.ndarray,
    title: str,
) -> None:
    """Draws mean ± standard deviation, both standard deviations and KL of each channel, dimensions and spectrum.

    Dead channels are red.

    Args:
        path: the PNG file, replaced atomically; its folder is made.
        mean, std: of the posterior mean, per channel.
        posterior_std: mean standard deviation of the posterior, per channel.
        kl: per channel.
        dead: per channel.
        dead_below: variance of the posterior mean up to which a channel is dead.
        scale: standard deviation over all channels.
        eigenvalues, effective_rank: of the covariance of the channels; shares, the largest first.
        band_edges, spectrum: Hz, and the share of power between each two; NaN for none.
        title: the line on top.
    """
    mean = np.asarray(mean, float)
    std, posterior_std, kl = _positive(std), _positive(posterior_std), _positive(kl)
    dead = np.asarray(dead, bool)
    colors = np.where(dead, DEAD, ALIVE)
    channels = np.arange(len(mean))
    figure = new_figure(12.4)
    figure.suptitle(title, x=0.05, y=0.985, ha="left", fontsize=15, weight="bold")
    rows = figure.add_gridspec(4, 2, left=0.055, right=0.985, top=0.91, bottom=0.05, hspace=0.46, wspace=0.13)

    axes = figure.add_subplot(rows[0, :])
    span = max(scale, SMALLEST)
    axes.axhspan(-span, span, color="0.93", label=f"± {scale:.4g} (std of all channels)")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.bar(channels, 2 * std, bottom=mean - std, width=0.7, color=colors, alpha=0.35)
    axes.plot(channels, mean, linestyle="", marker="_", markersize=9, markeredgewidth=2, color="0.15")
    axes.use_sticky_edges = False
    axes.margins(y=0.06)
    _finish(axes, "Mean ± standard deviation", "channel", len(mean))

    axes = figure.add_subplot(rows[1, :])
    alive = ~dead
    label = "of the posterior mean, over frames"
    axes.plot(channels[alive], std[alive], linestyle="", marker="o", markersize=6, color=ALIVE, label=label)
    if dead.any():
        label = f"dead channels ({dead.sum()})"
        axes.plot(channels[dead], std[dead], linestyle="", marker="X", markersize=8, color=DEAD, label=label)
    axes.axhline(
        max(np.sqrt(dead_below), SMALLEST), color=DEAD, linewidth=1, linestyle="--", label="bound of dead channels"
    )
    label = "of the posterior itself"
    axes.plot(channels, posterior_std, linestyle="", marker="_", markersize=9, color="tab:orange", label=label)
    axes.set_yscale("log")
    axes.margins(y=0.08)
    _finish(axes, "Standard deviations", "channel", len(mean))

    axes = figure.add_subplot(rows[2, 0])
    axes.bar(channels, kl, width=0.8, color=colors)
    _finish(axes, f"KL, {kl.sum():.4g} in all", "channel", len(mean))

    axes = figure.add_subplot(rows[2, 1])
    order = np.argsort(kl)[::-1]
    axes.bar(channels, kl[order], width=0.8, color=colors[order])
    _finish(axes, "KL, sorted", "rank", len(mean))

    axes = figure.add_subplot(rows[3, 0])
    axes.bar(channels, np.nan_to_num(np.asarray(eigenvalues, float)), width=0.8, color=ALIVE)
    _finish(axes, f"Eigenvalues of the covariance, effective rank {effective_rank:.4g}", "rank", len(mean))

    axes = figure.add_subplot(rows[3, 1])
    bands = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(band_edges)]
    axes.bar(bands, np.nan_to_num(np.asarray(spectrum, float)), width=0.8, color=ALIVE)
    _finish(axes, "Share of power over time", "Hz", len(bands))
    save_figure(figure, path)


def _positive(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.maximum(np.asarray(values, float), SMALLEST)


def _finish(axes: Axes, title: str, label: str, count: int) -> None:
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(label, fontsize=10)
    axes.set_xlim(-1, count)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1.0), ncols=len(handles), frameon=False, fontsize=10, borderpad=0.2
        )
