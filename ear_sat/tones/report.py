"""The report of a test with tones: tables, a Markdown page, the numbers as JSON, and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files import write_text
from ..report.tables import markdown_table
from .plots import save_tone_plots
from .results import ToneResults
from .steady import Array

OCTAVES_HZ = (31.5, 63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
REFERENCE_HZ = 997.0
EDGE_DB = 3.0
NOTES = (
    "dBFS: a full-scale sine is 0 dBFS RMS (AES17). −300 dB stands for nothing at all; n/a: the output is silent or "
    "not finite, or noise hides the value.",
    "THD+N: what a notch (Q 2) leaves between 20 Hz and 20 kHz against the whole output. THD: harmonics against the "
    "fundamental. Dynamic range: 0 dBFS against what the notch leaves of 997 Hz at −60 dBFS.",
)


class ToneTable(NamedTuple):
    """A table as :func:`ear_sat.report.tables.print_table` takes it: ``print_table(*table)``."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def save_tone_report(results: ToneResults, folder: str | Path) -> Path:
    """Writes ``test_tones.json``, ``test_tones.md`` and four plots into ``folder``; each replaces the old one at once.

    Returns:
        The path of the Markdown page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plots = save_tone_plots(results, folder)
    write_text(folder / "test_tones.json", json.dumps(results.to_json(), allow_nan=False))
    text = [
        "# Test tones",
        f"{results.sample_rate} Hz, {results.signal_seconds:.0f} s of test signals, the first and last "
        f"{results.settle_seconds:g} s of each left out.",
        *NOTES,
    ]
    for table in tone_tables(results):
        text += [f"## {table.title}", markdown_table(table.columns, table.rows)]
    text += [f"## {title}\n\n![{title}]({path.name})" for title, path in plots.items()]
    page = folder / "test_tones.md"
    write_text(page, "\n\n".join(text) + "\n")
    return page


def tone_tables(results: ToneResults) -> list[ToneTable]:
    """Everything that is a number rather than a curve."""
    makers = [overview_table, thd_n_table, gain_table, steps_table, response_table]
    if results.crosstalk_hz.size:
        makers.append(crosstalk_table)
    return [make(results) for make in makers]


def overview_table(results: ToneResults) -> ToneTable:
    """The data sheet: one row per quantity, one column per channel."""
    at = _nearest(results.frequencies_hz, REFERENCE_HZ)
    loud, middle = (list(results.levels_dbfs).index(level) for level in (-1.0, -20.0))
    reference = results.smoothed_db[:, _nearest(results.response_hz, REFERENCE_HZ), None]
    deviation = results.smoothed_db - reference
    edges = [_flat_range(results.response_hz, row) for row in deviation]
    top = f"{results.response_hz[-1] / 1000:.3g} kHz"
    rows: dict[str, Any] = {
        "delay (samples)": results.delay_samples,
        "polarity (1: kept, −1: inverted)": results.polarity,
        "gain, 997 Hz at −20 dBFS (dB)": results.gain_db[:, middle, at],
        f"most above 997 Hz, 20 Hz to {top} (dB)": np.fmax.reduce(deviation, axis=1),
        f"most below 997 Hz, 20 Hz to {top} (dB)": np.fmin.reduce(deviation, axis=1),
        "within 3 dB of 997 Hz from (Hz)": [edge[0] for edge in edges],
        "within 3 dB of 997 Hz to (Hz)": [edge[1] for edge in edges],
        "THD+N, 997 Hz at −1 dBFS (dB)": results.thd_n_db[:, loud, at],
        "THD, 997 Hz at −1 dBFS (dB)": results.thd_db[:, loud, at],
        "dynamic range, CCIR-RMS (dB)": results.dynamic_range_db[:, 2],
        "dynamic range, A-weighted (dB)": results.dynamic_range_db[:, 1],
        "dynamic range, unweighted (dB)": results.dynamic_range_db[:, 0],
        "noise on silence, CCIR-RMS (dBFS)": results.noise_dbfs[:, 2],
        "noise on silence, A-weighted (dBFS)": results.noise_dbfs[:, 1],
        "noise on silence, unweighted (dBFS)": results.noise_dbfs[:, 0],
        "greatest sample on silence (dB of full scale)": results.noise_peak_db,
        "DC on silence (dB of full scale)": results.noise_dc_db,
        "click: gain of the peak (dB)": results.click_gain_db,
        "click: delay of the peak (samples)": results.click_delay_samples,
        "click: energy more than 1 ms before (dB of all)": results.click_before_db,
        "click: energy more than 1 ms after (dB of all)": results.click_after_db,
    }
    columns = ["quantity", *results.channel_names()]
    return ToneTable("Overview", columns, [[name, *map(float, values)] for name, values in rows.items()])


def thd_n_table(results: ToneResults) -> ToneTable:
    """THD+N in dB and per cent, per frequency and level: the worse channel."""
    columns, blocks = ["Hz"], []
    for level, ratio_db in zip(results.levels_dbfs, results.thd_n_db.max(0), strict=True):
        columns += [f"{level:g} dBFS: dB", f"{level:g} dBFS: %"]
        blocks += [ratio_db, _per_cent(ratio_db)]
    rows = [[int(hz), *(float(block[at]) for block in blocks)] for at, hz in enumerate(results.frequencies_hz)]
    return ToneTable("THD+N against frequency and level, worst channel", columns, rows)


def gain_table(results: ToneResults) -> ToneTable:
    """Gain of the fundamental in dB, per frequency and level: the channel that departs most from 0 dB."""
    most = np.abs(results.gain_db).argmax(0)[None]
    gains = np.take_along_axis(results.gain_db, most, axis=0)[0]
    rows = [[int(hz), *map(float, gains[:, at])] for at, hz in enumerate(results.frequencies_hz)]
    columns = ["Hz", *(f"{level:g} dBFS: dB" for level in results.levels_dbfs)]
    return ToneTable("Gain against frequency and level, channel furthest from 0 dB", columns, rows)


def steps_table(results: ToneResults) -> ToneTable:
    """Distortion and gain of 997 Hz against level, per channel."""
    columns, blocks = ["dBFS"], []
    for name, thd_n, thd, gain in zip(
        results.channel_names(), results.step_thd_n_db, results.step_thd_db, results.step_gain_db, strict=True
    ):
        columns += [f"{name}: THD+N (dB)", f"{name}: THD+N (%)", f"{name}: THD (dB)", f"{name}: gain (dB)"]
        blocks += [thd_n, _per_cent(thd_n), thd, gain]
    rows = [[float(level), *(float(block[at]) for block in blocks)] for at, level in enumerate(results.steps_dbfs)]
    return ToneTable("997 Hz against level", columns, rows)


def response_table(results: ToneResults) -> ToneTable:
    """Magnitude and group delay (means of a sixth of an octave) at octaves, per channel."""
    names = results.channel_names()
    columns = ["Hz", *(f"{name}: dB" for name in names), *(f"{name}: group delay (ms)" for name in names)]
    milliseconds = results.group_delay_samples * 1000 / results.sample_rate
    rows = []
    for hz in (octave for octave in OCTAVES_HZ if octave <= results.response_hz[-1]):
        at = _nearest(results.response_hz, hz)
        rows.append([float(hz), *map(float, results.smoothed_db[:, at]), *map(float, milliseconds[:, at])])
    return ToneTable("Frequency response by sweep", columns, rows)


def crosstalk_table(results: ToneResults) -> ToneTable:
    """Level of a tone in the silent channel against its level in the driven one."""
    rows = [[int(hz), *map(float, results.crosstalk_db[:, at])] for at, hz in enumerate(results.crosstalk_hz)]
    return ToneTable("Crosstalk", ["Hz", "L into R (dB)", "R into L (dB)"], rows)


def _nearest(frequencies: Array, hz: float) -> int:
    return int(np.abs(np.log(frequencies / hz)).argmin())


def _per_cent(ratio_db: Array) -> Array:
    return 100 * 10 ** (ratio_db / 20)


def _flat_range(frequencies: Array, deviation_db: Array) -> tuple[float, float]:
    """The stretch around 997 Hz that stays within ±3 dB; n/a if there is no response.

    >>> _flat_range(np.array([100.0, 500.0, 1000.0, 2000.0]), np.array([-9.0, 1.0, 0.0, 2.0]))
    (500.0, 2000.0)
    """
    flat = np.abs(deviation_db) <= EDGE_DB
    low = high = _nearest(frequencies, REFERENCE_HZ)
    if not flat[low]:
        return math.nan, math.nan
    while low > 0 and flat[low - 1]:
        low -= 1
    while high < len(flat) - 1 and flat[high + 1]:
        high += 1
    return float(frequencies[low]), float(frequencies[high])
