"""What latents are like for a model of them: how many dimensions they fill, how they move in time, how they are spread.

All of it is accumulated in float64 window by window, so that memory does not depend on how much is looked at.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

#: Frames of a segment of the spectrum; segments overlap by half, under a Hann window (Welch, 1967).
SEGMENT = 64
#: Edges of the bands, in octaves up to half the frame rate, as parts of the frame rate.
BAND_EDGES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)


class LatentShape(NamedTuple):
    """What :class:`ShapeMeter` found; NaN where the latents do not vary, or no window is long enough.

    kurtosis, smoothness: per channel.
    overall_kurtosis: mean over the channels that vary.
    overall_smoothness: of all channels together.
    eigenvalues: of the covariance of the channels, the largest first, as shares of their sum.
    effective_rank: in [1, channels].
    spectrum: share of the power in each band of :data:`BAND_EDGES`; their sum is 1.
    """

    kurtosis: np.ndarray
    smoothness: np.ndarray
    overall_kurtosis: float
    overall_smoothness: float
    eigenvalues: np.ndarray
    effective_rank: float
    spectrum: np.ndarray


class ShapeMeter:
    """Accumulates windows of latents; :meth:`result` has the figures.

    Args:
        channels: of the latents.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = np.zeros(channels)
        self.products = np.zeros((channels, channels))  # of deviations from the mean
        self.third, self.fourth = np.zeros(channels), np.zeros(channels)  # powers of deviations
        self.steps, self.squared_steps = 0, np.zeros(channels)
        self._spectrum = _Spectrum(channels)

    def update(self, values: np.ndarray) -> None:
        """Adds a window: (channels, frames), neighbours in time."""
        values = np.asarray(values, np.float64)
        if values.shape[-1] == 0:
            return
        self._merge(values)
        self.steps += values.shape[-1] - 1
        self.squared_steps += np.square(np.diff(values)).sum(1)
        self._spectrum.update(values)

    def _merge(self, values: np.ndarray) -> None:
        """Joins sums of powers of deviations: Pébay, "Formulas for robust, one-pass parallel computation of covariances
        and arbitrary-order statistical moments" (2008), equations for two sets."""
        old, new = self.count, values.shape[-1]
        total = old + new
        mean = values.mean(1)
        deviation = values - mean[:, None]
        products, shift = deviation @ deviation.T, mean - self.mean
        m2, n2 = np.diag(self.products), np.diag(products)
        m3, n3 = self.third, (deviation**3).sum(1)
        self.fourth = (
            self.fourth
            + (deviation**4).sum(1)
            + shift**4 * old * new * (old**2 - old * new + new**2) / total**3
            + 6 * shift**2 * (old**2 * n2 + new**2 * m2) / total**2
            + 4 * shift * (old * n3 - new * m3) / total
        )
        self.third = m3 + n3 + shift**3 * old * new * (old - new) / total**2 + 3 * shift * (old * n2 - new * m2) / total
        self.products = self.products + products + np.outer(shift, shift) * (old * new / total)
        self.mean = self.mean + shift * (new / total)
        self.count = total

    def result(self) -> LatentShape:
        """The figures of all windows so far."""
        count = max(self.count, 1)
        variance = np.diag(self.products) / count
        # What rounding leaves of a constant is not a variance.
        varies = variance > (1e-7 * np.maximum(np.abs(self.mean), 1e-30)) ** 2
        squared_steps = self.squared_steps / self.steps if self.steps else np.full_like(variance, np.nan)
        kurtosis = _ratio(self.fourth / count, variance**2, varies)
        eigenvalues, rank = _dimensions(self.products if varies.any() else np.zeros_like(self.products))
        return LatentShape(
            kurtosis,
            _ratio(squared_steps, 2 * variance, varies),
            float(kurtosis[varies].mean()) if varies.any() else np.nan,
            float(squared_steps.sum() / (2 * variance.sum())) if varies.any() else np.nan,
            eigenvalues,
            rank,
            self._spectrum.shares(self.mean) if varies.any() else np.full(len(BAND_EDGES) - 1, np.nan),
        )


def _ratio(one: np.ndarray, other: np.ndarray, defined: np.ndarray) -> np.ndarray:
    return np.divide(one, other, out=np.full(len(one), np.nan), where=defined)


def _dimensions(covariance: np.ndarray) -> tuple[np.ndarray, float]:
    """Shares of the eigenvalues, and exp of their entropy: Roy & Vetterli, "The effective rank" (2007)."""
    values = np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0)
    if not values.sum() > 0:
        return np.full(len(values), np.nan), np.nan
    shares = values / values.sum()
    used = shares[shares > 0]
    return shares, float(np.exp(-(used * np.log(used)).sum()))


class _Spectrum:
    """Power of segments by frequency. The mean is known at the end only, so sums of the spectra are kept as well."""

    def __init__(self, channels: int) -> None:
        bins = SEGMENT // 2 + 1
        self.window = np.hanning(SEGMENT + 1)[:-1]
        self.segments = 0
        self.sums = np.zeros((channels, bins), complex)
        self.powers = np.zeros((channels, bins))

    def update(self, values: np.ndarray) -> None:
        for start in range(0, values.shape[-1] - SEGMENT + 1, SEGMENT // 2):
            spectrum = np.fft.rfft(values[:, start : start + SEGMENT] * self.window)
            self.sums += spectrum
            self.powers += np.square(np.abs(spectrum))
            self.segments += 1

    def shares(self, mean: np.ndarray) -> np.ndarray:
        """Of the power, without the channels' means, in each band; NaN without a segment."""
        offset = mean[:, None] * np.fft.rfft(self.window)
        power = self.powers - 2 * (offset.conj() * self.sums).real + self.segments * np.square(np.abs(offset))
        power = np.maximum(power, 0).sum(0)
        if not power.sum() > 0:
            return np.full(len(BAND_EDGES) - 1, np.nan)
        power[1:-1] *= 2  # the negative frequencies
        edges = [round(edge * SEGMENT) for edge in BAND_EDGES]
        bands = np.array([_between(power, low, high) for low, high in itertools.pairwise(edges)])
        return bands / power.sum()


def _between(power: np.ndarray, low: int, high: int) -> float:
    """The sum from bin ``low`` to ``high``; what two bands share is halved, so that white noise fills their widths."""
    ends = power[low] * (1.0 if low == 0 else 0.5) + power[high] * (1.0 if high == len(power) - 1 else 0.5)
    return float(power[low + 1 : high].sum() + ends)
