"""Weighting curves of hearing: magnitude responses of K-weighting (BS.1770) and A-weighting (IEC 61672)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# ITU-R BS.1770-5, annex 1: the two stages as analogue prototypes. The standard prints coefficients at 48 kHz only;
# these are the parameters behind them (as libebur128 and pyloudnorm use), so that other rates get the same response.
SHELF_HZ, SHELF_DB, SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
HIGH_PASS_HZ, HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
#: Exponent by which the shelf's band gain follows its high gain; same source.
SHELF_BAND_EXPONENT = 0.4996667741545416


def k_weighting_biquads(sample_rate: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The high shelf and the high-pass of BS.1770 as second-order sections [b0 b1 b2 a0 a1 a2].

    >>> shelf, high_pass = k_weighting_biquads(48000)
    >>> [round(float(v), 8) for v in shelf[:3]], [round(float(v), 8) for v in high_pass[4:]]
    ([1.53512486, -2.69169619, 1.19839281], [-1.99004745, 0.99007225])
    """
    k = math.tan(math.pi * SHELF_HZ / sample_rate)
    high = 10 ** (SHELF_DB / 20)
    band = high**SHELF_BAND_EXPONENT
    a0 = 1 + k / SHELF_Q + k * k
    shelf = np.array(
        [
            (high + band * k / SHELF_Q + k * k) / a0,
            2 * (k * k - high) / a0,
            (high - band * k / SHELF_Q + k * k) / a0,
            1,
            2 * (k * k - 1) / a0,
            (1 - k / SHELF_Q + k * k) / a0,
        ]
    )
    k = math.tan(math.pi * HIGH_PASS_HZ / sample_rate)
    a0 = 1 + k / HIGH_PASS_Q + k * k
    high_pass = np.array([1, -2, 1, 1, 2 * (k * k - 1) / a0, (1 - k / HIGH_PASS_Q + k * k) / a0])
    return shelf, high_pass


def k_gain(frequency: NDArray[np.float64], sample_rate: float) -> NDArray[np.float64]:
    """Magnitude of the K-weighting filters at ``frequency`` in Hz; 0 at DC.

    >>> [round(20 * math.log10(g), 2) for g in k_gain(np.array([100.0, 1000.0, 4000.0]), 44100)]
    [-1.13, 0.7, 3.97]
    """
    # z^-1 on the unit circle; polynomials in z^-1 evaluated directly, exact down to 20 Hz in double precision.
    z = np.exp(-2j * np.pi * np.asarray(frequency, dtype=np.float64) / sample_rate)
    gain = np.ones_like(z)
    for section in k_weighting_biquads(sample_rate):
        gain = gain * np.polyval(section[2::-1], z) / np.polyval(section[:2:-1], z)
    return np.abs(gain)


def a_gain(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """A-weighting of IEC 61672-1, analytic, 1 at 1 kHz.

    >>> [round(20 * math.log10(g), 1) for g in a_gain(np.array([100.0, 1000.0, 10000.0]))]
    [-19.1, 0.0, -2.5]
    """

    def response(f: NDArray[np.float64]) -> NDArray[np.float64]:
        f2 = f**2
        edges = np.sqrt((f2 + 107.65265**2) * (f2 + 737.86223**2))
        return 12194.217**2 * f2**2 / ((f2 + 20.598997**2) * edges * (f2 + 12194.217**2))

    return response(np.asarray(frequency, dtype=np.float64)) / response(np.array(1000.0))
