"""Gain of K, A, K with the configs' floor, and the prefilter of the host's losses."""

from __future__ import annotations

import auraloss
import numpy as np
import style
from scipy.signal import freqz

from ear_sat.losses import a_gain, k_gain

RATE = 44100
FLOOR_DB = -10


def main() -> None:
    """Draws and saves."""
    frequencies = np.geomspace(10, RATE / 2, 800)
    k, a = k_gain(frequencies, RATE), a_gain(frequencies)
    floored = np.sqrt(k**2 + 10 ** (FLOOR_DB / 10))
    # What perceptual_weighting of the host's stock losses is: auraloss' filter of 101 taps.
    taps = auraloss.perceptual.FIRFilter(filter_type="aw", fs=RATE, ntaps=101).fir.weight.detach().flatten().numpy()
    _, host = freqz(taps, worN=frequencies, fs=RATE)
    figure = style.new(3.6)
    axes = figure.subplots()
    curves = {"K (default)": k, "K with a floor of −10 dB": floored, "A": a, "the host's: A in 101 taps": np.abs(host)}
    for (label, gain), dashes in zip(curves.items(), ((), (4, 2), (1, 1.5), (6, 2, 1, 2)), strict=True):
        axes.semilogx(frequencies, 20 * np.log10(np.maximum(gain, 1e-6)), label=label, dashes=dashes, linewidth=2)
    axes.axhline(0, color=style.INK, linewidth=0.6)
    axes.set(xlabel="frequency in Hz", ylabel="gain in dB", ylim=(-50, 10), xlim=(10, RATE / 2))
    axes.set_xticks([20, 100, 1000, 10000], ["20", "100", "1k", "10k"])
    axes.legend(loc="lower right")
    style.save(figure, "weighting")


if __name__ == "__main__":
    main()
