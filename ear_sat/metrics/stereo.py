"""Errors of the stereo image: level difference and correlation between the channels, width, panning.

The first three come from the energies of L, R and their product over the whole clip, so they say what the mix as a
whole does; the panning error looks at every tile of a spectrogram. None of them sees a polarity flip of both channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .clips import SILENCE_PEAK, is_silent, mean_over_pairs
from .frames import power, stft_blocks

WIDTH_LIMIT_DB = 60.0
"""Widths beyond ±60 dB are mono or antiphase to any listener, and count as such."""
PANNING_SIZE = 2048
"""Window of the panning error: 46 ms and 21 Hz at 44.1 kHz, near the middle of the other metrics' windows."""


def icld_error_db(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Error of the inter-channel level difference in dB, of the whole clip; lower is better, identity is 0.

    |ΔL̂ − ΔL| with ΔL = 10·log10(Σ l² / Σ r²). A channel of the estimate counts with −120 dBFS RMS at least.

    Args:
        preds: the estimate, (2, time) or (batch, 2, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips in dB; NaN if undefined: not two channels, a silent channel in the target, a silent estimate,
        NaN or infinite samples.

    Raises:
        ValueError: shapes or types do not fit.

    Source: Baumgarte and Faller 2003, "Binaural cue coding", the cues ICLD and ICC.

    >>> y = torch.tensor([[1.0, -1.0], [0.5, 0.5]])
    >>> round(icld_error_db(y * torch.tensor([[1.0], [2.0]]), y), 2), icld_error_db(-y, y)
    (6.02, 0.0)
    """
    return mean_over_pairs(_image_error(_level_difference_db, needs_both=True), preds, target, sample_rate)


def icc_error(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Error of the inter-channel correlation, in [0, 2], of the whole clip; lower is better, identity is 0.

    |ρ̂ − ρ| with ρ = Σ l·r / √(Σ l² · Σ r²), without delay, in [−1, 1]; a silent channel correlates with nothing: ρ = 0.

    Args:
        preds: the estimate, (2, time) or (batch, 2, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips; NaN if undefined: not two channels, a silent channel in the target, a silent estimate, NaN or
        infinite samples.

    Raises:
        ValueError: shapes or types do not fit.

    Source: as :func:`icld_error_db`.

    >>> y = torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])  # uncorrelated
    >>> icc_error(y[:1].expand(2, -1), y), icc_error(y.flip(0), y)
    (1.0, 0.0)
    """
    return mean_over_pairs(_image_error(_correlation, needs_both=True), preds, target, sample_rate)


def stereo_width_error_db(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Error of the stereo width in dB, of the whole clip; lower is better, identity is 0.

    |Ŵ − W| with W = 10·log10(Σ s² / Σ m²), the level of the side under the mid, limited to ±60 dB: dual mono reads −60,
    independent channels of one level 0, antiphase +60. Blind to L and R swapped.

    Args:
        preds: the estimate, (2, time) or (batch, 2, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips in dB; NaN if undefined: not two channels, either silent, NaN or infinite samples.

    Raises:
        ValueError: shapes or types do not fit.

    >>> y = torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])  # mid and side equally strong
    >>> narrow = torch.stack((0.75 * y[0] + 0.25 * y[1], 0.25 * y[0] + 0.75 * y[1]))  # side halved
    >>> round(stereo_width_error_db(narrow, y), 2), stereo_width_error_db(y.flip(0), y)
    (6.02, 0.0)
    """
    return mean_over_pairs(_image_error(_width_db, needs_both=False), preds, target, sample_rate)


def panning_error_deg(preds: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Mean error of the panning angle in degrees, in [0, 90]; lower is better, identity is 0.

    Per tile (bin and frame of an STFT of 2048 samples, periodic Hann, hop a quarter) the angle of the main axis of its
    goniogram, θ = ½·∠(|L|² − |R|² + 2j·Re L·R*): 0° left, 45° centre, 90° right, −45° antiphase. Its error, taken
    around the half circle, is averaged with the target's level in that tile as weight, (directed power)^½, where the
    directed power ||L|² − |R|² + 2j·Re L·R*| is 0 for a tile without a main axis. Tiles where the estimate has none are
    left out.

    Args:
        preds: the estimate, (2, time) or (batch, 2, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; does not enter.

    Returns:
        Mean over clips in degrees; NaN if undefined: not two channels, either silent, NaN or infinite samples, 1024
        samples or fewer.

    Raises:
        ValueError: shapes or types do not fit.

    Source: ours; the angle is that of the polarisation ellipse (Stokes parameters) of L and R.

    >>> noise = torch.randn(8192, generator=torch.Generator().manual_seed(0))
    >>> centre, left = torch.stack((noise, noise)), torch.stack((noise, 0 * noise))
    >>> round(panning_error_deg(left, centre), 3), panning_error_deg(-0.5 * centre, centre)
    (45.0, 0.0)
    """
    return mean_over_pairs(_panning_error_deg, preds, target, sample_rate)


def _image_error(value: Callable[[float, float, float], float], needs_both: bool) -> Callable[..., float]:
    """|value of the estimate − value of the target|, ``value`` a function of the means of l², r² and l·r.

    ``needs_both``: undefined where one channel of the target is silent.
    """

    def error(preds: Tensor, target: Tensor) -> float:
        if len(target) != 2 or is_silent(preds) or (needs_both and any(is_silent(channel) for channel in target)):
            return math.nan
        return abs(value(*_mean_squares(preds)) - value(*_mean_squares(target)))

    return error


def _mean_squares(stereo: Tensor) -> tuple[float, float, float]:
    """Means of l², r² and l·r of a clip (2, time)."""
    left, right = stereo.double()
    means = (torch.dot(a, b).item() / stereo.shape[1] for a, b in ((left, left), (right, right), (left, right)))
    return next(means), next(means), next(means)


def _level_difference_db(left: float, right: float, product: float) -> float:
    return 10 * math.log10(max(left, SILENCE_PEAK**2) / max(right, SILENCE_PEAK**2))


def _correlation(left: float, right: float, product: float) -> float:
    return product / math.sqrt(left * right) if left > 0 and right > 0 else 0.0


def _width_db(left: float, right: float, product: float) -> float:
    mid, side = left + right + 2 * product, left + right - 2 * product  # four times the powers
    least = 10 ** (-WIDTH_LIMIT_DB / 10) * max(mid, side)
    return 10 * math.log10(max(side, least) / max(mid, least))


def _panning_error_deg(preds: Tensor, target: Tensor) -> float:
    if len(target) != 2 or is_silent(preds) or target.shape[1] <= PANNING_SIZE // 2:
        return math.nan
    total = weights = 0.0
    for pair in zip(stft_blocks(preds, PANNING_SIZE), stft_blocks(target, PANNING_SIZE), strict=True):
        (px, py), (tx, ty) = (_directed_power(spectrum) for spectrum in pair)
        # Angle between the two vectors: 0 for parallel ones to the last bit, and for a tile that has no direction.
        angle = torch.atan2((py * tx - px * ty).abs(), px * tx + py * ty)
        weight = torch.where((px != 0) | (py != 0), torch.hypot(tx, ty).sqrt(), 0.0)
        total += (weight * angle).sum().item()
        weights += weight.sum().item()
    return math.degrees(total / weights) / 2 if weights > 0 else math.nan


def _directed_power(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """|L|² − |R|² and 2·Re L·R* of a spectrum (2, frames, bins): a vector at twice the panning angle."""
    left, right = power(spectrum)
    parts = torch.view_as_real(spectrum)
    return left - right, 2 * (parts[0] * parts[1]).sum(-1)
