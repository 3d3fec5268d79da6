"""Pictures without axes, as data for an <img>: spectrograms, differences, phase errors, goniometers.

Dark ones carry their own background; the others are transparent where there is nothing to see, so that they read well
on a light page and on a dark one.
"""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import torch

from .time_frequency import first_bins, levels, spectrum

RANGE_DB = 80.0
DIFFERENCE_DB = 20.0
ROWS, FRAMES = 220, 600  # pixels of a spectrogram
GONIOMETER_PIXELS = 220
LEVEL_COLORS, PHASE_COLORS = "magma", "twilight"  # twilight: dark at 0, light at ±π, blue below and red above
TOO_LOUD, TOO_QUIET = (201, 60, 45), (45, 110, 201)  # red and blue that read well on white and on black
GONIOMETER_COLOR = (36, 160, 170)
WEBP_QUALITY = 78

Array = np.ndarray[Any, Any]


def mean_levels(waveform: torch.Tensor, sample_rate: int) -> Array:
    """Levels in dBFS of the mean power over channels, (rows from low to high, frames)."""
    return 10 * np.log10(np.mean(10 ** (levels(waveform, sample_rate, ROWS, FRAMES) / 10), axis=0))


def top_level(target_levels: Array) -> float:
    """The upper end of a spectrogram's colour scale in dBFS: a round number above the target's loudest point."""
    return 5.0 * math.ceil(max(float(target_levels.max()), -40.0) / 5)


def spectrogram_picture(level: Array, top: float) -> str:
    """Spectrogram of :func:`mean_levels`, from ``top`` down by :data:`RANGE_DB`."""
    return _webp(colored(LEVEL_COLORS, (level - top) / RANGE_DB + 1)[::-1])


def difference_picture(preds_level: Array, target_level: Array, top: float) -> str:
    """Estimate − target in dB: red where too loud, blue where too quiet, clear where equal or below the scale."""
    floor = top - RANGE_DB
    difference = np.maximum(preds_level, floor) - np.maximum(target_level, floor)
    strength = np.clip(np.abs(difference) / DIFFERENCE_DB, 0, 1)
    color = np.where(difference[..., None] > 0, TOO_LOUD, TOO_QUIET)
    return _webp(np.concatenate([color, 255 * strength[..., None]], axis=-1).astype(np.uint8)[::-1])


def phase_error_picture(preds: torch.Tensor, target: torch.Tensor, sample_rate: int, top: float) -> str:
    """Angle of Ŷ·Y* in colour, its level as brightness: dark is in phase or quiet.

    Each pixel sums Ŷ·Y* over its bins and frames and over channels, which weighs each bin's phase by its energy.
    """
    cross = (spectrum(preds) * spectrum(target).conj()).sum(0).numpy()
    cells = np.add.reduceat(cross, first_bins(sample_rate, ROWS), axis=0)
    starts = np.arange(min(FRAMES, cells.shape[1])) * cells.shape[1] // min(FRAMES, cells.shape[1])
    cells = np.add.reduceat(cells, starts, axis=1)
    level = 10 * np.log10(np.maximum(np.abs(cells), 1e-12))  # of a product of magnitudes: power
    brightness = np.clip((level - top) / RANGE_DB + 1, 0, 1)
    colors = colored(PHASE_COLORS, np.angle(cells) / (2 * np.pi) + 0.5)
    return _webp((colors * np.sqrt(brightness)[..., None]).astype(np.uint8)[::-1])


def goniometer_picture(waveform: torch.Tensor, scale: float) -> str | None:
    """Density of the sample points (R − L, L + R)/√2: mid upwards, left to the upper left, as on a goniometer.

    Args:
        waveform: (2, time); any other number of channels has no picture.
        scale: magnitude at the edge.
    """
    if waveform.shape[0] != 2:
        return None
    left, right = waveform.double().numpy()
    edges = np.linspace(-scale, scale, GONIOMETER_PIXELS + 1)
    side, mid = (np.clip(x / math.sqrt(2), -0.999 * scale, 0.999 * scale) for x in (right - left, left + right))
    counts, _, _ = np.histogram2d(mid, side, bins=(edges, edges))  # type: ignore[arg-type]
    # Silence, all of it at the centre, must not set the scale.
    densest = float(np.quantile(counts[counts > 0], 0.995)) if counts.any() else 1.0
    density = np.minimum(np.log1p(counts) / math.log1p(densest), 1.0)
    picture = np.empty((GONIOMETER_PIXELS, GONIOMETER_PIXELS, 4), np.uint8)
    picture[..., :3] = GONIOMETER_COLOR
    picture[..., 3] = 255 * density[::-1] ** 0.6
    return _webp(picture)


def goniometer_scale(waveform: torch.Tensor) -> float:
    """Edge of the goniometer: all but the loudest thousandth of the target's samples, and a tenth more."""
    if waveform.numel() == 0:
        return 1.0
    magnitude = waveform.abs().amax(0).numpy()
    return max(1e-4, 1.1 * math.sqrt(2) * float(np.quantile(magnitude, 0.999)))


def color_bar(colors: str, stops: int = 12) -> str:
    """A colour map as a CSS gradient from left to right.

    >>> color_bar("gray", 2)
    'linear-gradient(to right, rgb(0,0,0), rgb(255,255,255))'
    """
    table = colored(colors, np.linspace(0, 1, stops))
    return f"linear-gradient(to right, {', '.join(f'rgb({r},{g},{b})' for r, g, b in table.tolist())})"


def colored(colors: str, values: Array) -> Array:
    """RGB bytes (…, 3) of values from 0 to 1 by a colour map of matplotlib."""
    from matplotlib import colormaps

    return colormaps[colors](np.clip(values, 0, 1), bytes=True)[..., :3]


def _webp(pixels: Array) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        buffer, "WEBP", quality=WEBP_QUALITY, alpha_quality=WEBP_QUALITY, method=3
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
