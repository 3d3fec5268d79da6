"""Plots of a test with tones: distortion, response, impulse and noise, as on the data sheet of a device."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..report.figures import new_figure, save_figure
from .results import ToneResults
from .steady import Array, spectrum_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS_HZ = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
DASHES = ("-", "--", ":", "-.")  # one per channel
LOWEST_DB = -160.0  # float32 audio ends about there; what lies below is not drawn
NEAR_MS = 3.0  # of impulse and click
RMS_SECONDS = 0.00025


def save_tone_plots(results: ToneResults, folder: str | Path) -> dict[str, Path]:
    """Draws the four pictures ``test_tones_*.png``, 1400 pixels wide, and returns their paths by title."""
    figures = {
        "Distortion": _distortion(results),
        "Frequency response and group delay": _response(results),
        "Impulse response and click": _impulse(results),
        "Noise and crosstalk": _noise(results),
    }
    names = ("distortion", "response", "impulse", "noise")
    paths = {title: Path(folder) / f"test_tones_{name}.png" for title, name in zip(figures, names, strict=True)}
    for title, figure in figures.items():
        save_figure(figure, paths[title])
    return paths


def _distortion(results: ToneResults) -> Figure:
    figure, grid = _figure(9.2, [["thd_n", "thd_n"], ["steps", "harmonics"]])
    axes = grid["thd_n"]
    for index, level in enumerate(results.levels_dbfs):
        lines = results.thd_n_db[:, index]
        _lines(axes, results.frequencies_hz, lines, results, f"{_number(level)} dBFS", COLORS[index], marker="o")
    _frequency_axis(axes, results, "tone")
    _ratio_axis(axes, results.thd_n_db)
    _finish(axes, "THD+N against frequency", "dB of the output")

    axes = grid["steps"]
    _lines(axes, results.steps_dbfs, results.step_thd_n_db, results, "THD+N", COLORS[0], marker="o")
    _lines(axes, results.steps_dbfs, results.step_thd_db, results, "THD", COLORS[1], marker="o")
    axes.set_xlabel("level of the 997 Hz tone (dBFS)")
    axes.set_xlim(results.steps_dbfs.min() - 2, 2)
    _ratio_axis(axes, np.stack((results.step_thd_n_db, results.step_thd_db)))
    _finish(axes, "Distortion against level, 997 Hz", "dB")

    axes = grid["harmonics"]
    for index, order in enumerate(results.harmonic_orders):
        name = f"{order:.0f}{'nd' if order == 2 else 'rd' if order == 3 else 'th'}"
        _lines(axes, results.response_hz, results.harmonics_db[:, index], results, name, COLORS[index])
    _frequency_axis(axes, results, "fundamental")
    _ratio_axis(axes, results.harmonics_db)
    _finish(axes, "Harmonics by sweep, −20 dBFS (gaps: noise)", "dB of the fundamental")
    return figure


def _response(results: ToneResults) -> Figure:
    figure, grid = _figure(8.4, [["magnitude"], ["delay"]])
    axes = grid["magnitude"]
    _lines(axes, results.response_hz, results.smoothed_db, results, "", COLORS[0])
    for color, raw in zip(COLORS, results.magnitude_db, strict=False):
        axes.plot(results.response_hz, raw, color=color, alpha=0.3, linewidth=0.8)
    low, high = _range(results.smoothed_db, 0, 1)
    axes.set_ylim(max(-24.0, min(-3.0, low - 1)), min(24.0, max(3.0, high + 1)))
    _frequency_axis(axes, results)
    _finish(axes, "Magnitude by sweep, −20 dBFS (strong: mean of 1/6 octave, faint: raw)", "dB")

    axes = grid["delay"]
    milliseconds = results.group_delay_samples * 1000 / results.sample_rate
    _lines(axes, results.response_hz, milliseconds, results, "", COLORS[0])
    low, high = _range(milliseconds, 0.02, 0.98)
    margin = max(0.25 * (high - low), 0.1)
    axes.set_ylim(low - margin, high + margin)
    scale = results.sample_rate / 1000
    right = axes.secondary_yaxis("right", functions=(partial(np.multiply, scale), partial(np.multiply, 1 / scale)))
    right.set_ylabel("samples")
    _frequency_axis(axes, results)
    _finish(axes, "Group delay (mean of 1/6 octave; gaps: noise)", "ms")
    for axes in grid.values():
        _say_if_empty(axes)
        axes.axhline(0, color="0.3", linewidth=0.8)
    return figure


def _impulse(results: ToneResults) -> Figure:
    figure, grid = _figure(8.4, [["ir", "ir_db"], ["click", "click_db"]])
    ir_ms, click_ms = results.impulse_seconds * 1000, results.click_seconds * 1000
    ir_rms, click_rms = (
        _running_rms(it, results.sample_rate) for it in (results.impulse_response, results.click_response)
    )
    _lines(grid["ir"], ir_ms, results.impulse_response, results, "", COLORS[0])
    _finish(grid["ir"], "Impulse response by sweep", "amplitude")
    _lines(grid["ir_db"], ir_ms, _level(ir_rms / ir_rms.max(-1, keepdims=True)), results, "", COLORS[0], linewidth=0.9)
    _finish(grid["ir_db"], "Impulse response, RMS of 0.25 ms", "dB of its peak")
    grid["click"].plot(click_ms, results.click_source, color="0.6", linewidth=3, label="click")
    _lines(grid["click"], click_ms, results.click_response, results, "", COLORS[0])
    _finish(grid["click"], "Click, peak 6 dB below full scale", "amplitude")
    _lines(grid["click_db"], click_ms, _level(click_rms), results, "", COLORS[0], linewidth=0.9)
    _finish(grid["click_db"], "Click, RMS of 0.25 ms", "dB of full scale")
    for name, axes in grid.items():
        axes.set_xlabel("ms from the peak" if name.startswith("ir") else "ms from the click")
        if name.endswith("_db"):
            axes.set_ylim(-120, 5)
            times = ir_ms if name.startswith("ir") else click_ms
            axes.set_xlim(times[0], times[-1])
        else:
            axes.set_xlim(-NEAR_MS, NEAR_MS)
        _say_if_empty(axes)
    return figure


def _noise(results: ToneResults) -> Figure:
    figure, grid = _figure(9.2, [["silence", "silence"], ["tone", "crosstalk"]])
    axes = grid["silence"]
    heard = np.any(results.noise_spectrum_dbfs >= LOWEST_DB)
    name = "silence" if heard else f"silence (nothing above {_number(LOWEST_DB)})"
    _lines(axes, results.spectrum_hz, results.noise_spectrum_dbfs, results, name, COLORS[0], linewidth=1.1)
    _lines(axes, results.spectrum_hz, results.soft_spectrum_dbfs, results, "997 Hz, −60 dBFS", COLORS[1], linewidth=1.1)
    _frequency_axis(axes, results)
    _level_axis(axes, np.stack((results.noise_spectrum_dbfs, results.soft_spectrum_dbfs)))
    _finish(
        axes,
        f"Spectrum of the output ({results.sample_rate / spectrum_size(results.sample_rate):.1f} Hz per bin)",
        "dBFS",
    )

    axes = grid["tone"]
    _lines(axes, results.spectrum_hz, results.loud_spectrum_dbfs, results, "", COLORS[0], linewidth=1.1)
    _frequency_axis(axes, results)
    _level_axis(axes, results.loud_spectrum_dbfs)
    _finish(axes, "Spectrum of the output: 997 Hz, −1 dBFS", "dBFS")

    axes = grid["crosstalk"]
    if results.crosstalk_hz.size:
        for index, name in enumerate(("L into R", "R into L")):
            line = results.crosstalk_db[index]
            axes.plot(results.crosstalk_hz, line, DASHES[index], marker="o", markersize=4, label=name)
    _frequency_axis(axes, results, "tone, −20 dBFS")
    _level_axis(axes, results.crosstalk_db)
    _finish(axes, "Crosstalk", "dB of the driven channel")
    return figure


def _figure(height: float, mosaic: Any) -> tuple[Figure, dict[str, Axes]]:
    figure = new_figure(height, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    grid: Any = figure.subplot_mosaic(mosaic)
    return figure, grid


def _lines(axes: Axes, x: Array, y: Array, results: ToneResults, name: str, color: str, **options: Any) -> None:
    """One line per channel: the colour of ``name`` and a dash of their own, or a colour of their own without a name."""
    options = {"linewidth": 1.6, "markersize": 4, **options}
    for channel, channel_name in enumerate(results.channel_names()):
        label = f"{name} {channel_name}".strip() if results.channels > 1 else name
        shade = color if name else COLORS[channel % len(COLORS)]
        axes.plot(x, y[channel], DASHES[channel % len(DASHES)], color=shade, label=label or None, **options)


def _frequency_axis(axes: Axes, results: ToneResults, of: str = "") -> None:
    top = min(20000.0, results.sample_rate / 2)
    axes.set_xscale("log")
    axes.set_xlim(18, top * 1.1)
    ticks = [hz for hz in TICKS_HZ if hz <= top]
    axes.set_xticks(ticks, [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks])
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel(f"Hz ({of})" if of else "Hz")


def _level_axis(axes: Axes, values: Array) -> None:
    """Limits that hold all values from :data:`LOWEST_DB` on."""
    low, high = (
        _range(values[values >= LOWEST_DB], 0, 1) if np.any(values >= LOWEST_DB) else (LOWEST_DB, LOWEST_DB + 60)
    )
    axes.set_ylim(max(LOWEST_DB, 10 * np.floor((low - 3) / 10)), 10 * np.ceil((high + 3) / 10))
    _say_if_empty(axes)


def _ratio_axis(axes: Axes, values: Array) -> None:
    """As :func:`_level_axis`, and per cent on the right."""
    _level_axis(axes, values)
    low, high = axes.get_ylim()
    right = axes.secondary_yaxis("right")
    per_cent = [10.0**power for power in range(-7, 4) if low <= 20 * (power - 2) <= high]
    right.set_yticks([20 * (np.log10(value) - 2) for value in per_cent], [f"{_number(value)} %" for value in per_cent])
    if low <= 0 <= high:
        axes.axhline(0, color="0.3", linewidth=0.8)


def _range(values: Array, low: float, high: float) -> tuple[float, float]:
    """Two quantiles of what is finite, or 0 and 0."""
    finite = values[np.isfinite(values)]
    return (float(np.quantile(finite, low)), float(np.quantile(finite, high))) if finite.size else (0.0, 0.0)


def _running_rms(signal: Array, sample_rate: int) -> Array:
    """Root of the mean square of (channels, time) over a quarter of a millisecond."""
    size = max(1, round(RMS_SECONDS * sample_rate))
    return np.sqrt(np.maximum(uniform_filter1d(signal**2, size, axis=-1), 0))  # its running sum may end below 0


def _level(magnitude: Array) -> Array:
    return 20 * np.log10(np.maximum(magnitude, 1e-15))


def _number(value: float) -> str:
    """A number with a minus sign rather than a hyphen, and without an exponent.

    >>> _number(-60.0), _number(1e-5)
    ('−60', '0.00001')
    """
    return f"{value:.7f}".rstrip("0").rstrip(".").replace("-", "−")


def _say_if_empty(axes: Axes) -> None:
    bottom = axes.get_ylim()[0]
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
    if not any(np.any(line > bottom) for line in lines):
        known = any(np.isfinite(line).any() for line in lines)
        text = f"nothing above {_number(bottom)} dB" if known else "n/a"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="bottom", color="0.4", fontsize=12)


def _finish(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, weight="bold")
    axes.set_ylabel(unit)
    axes.grid(color="0.9", linewidth=0.6)
    axes.grid(which="minor", axis="x", color="0.95", linewidth=0.4)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=9, frameon=False, ncols=2, loc="best")
