"""Measures a codec with the metrics of ear_sat: ``python examples/measure_a_codec.py``.

The codec here drops everything above 8 kHz and halves the side. The metrics say which of the two hurts where.
"""

from __future__ import annotations

import torch

from ear_sat.data import synthesise_track
from ear_sat.metrics import METRICS, evaluate_pair

RATE = 44100
SHOWN = (
    "si_sdr_db",
    "stft_distance",
    "stereo_width_error_db",
    "k_stft_distance_side",
    "si_sdr_1khz_db",
    "si_sdr_16khz_db",
)


def codec(audio: torch.Tensor) -> torch.Tensor:
    """(channels, time) → the same, without highs and with half the width."""
    spectrum = torch.fft.rfft(audio)
    spectrum[:, torch.fft.rfftfreq(audio.shape[-1], 1 / RATE) > 8000] = 0
    left, right = torch.fft.irfft(spectrum, n=audio.shape[-1])
    mid, side = (left + right) / 2, (left - right) / 4
    return torch.stack((mid + side, mid - side))


def main() -> dict[str, float]:
    """Prints a row for each metric, and returns the values."""
    original = torch.from_numpy(synthesise_track(0, 6.0, RATE, 0))
    values = evaluate_pair(codec(original), original, RATE, SHOWN)
    for name, value in values.items():
        metric = METRICS[name]
        better = "higher" if metric.higher_is_better else "lower"
        print(f"{metric.label:<16} {value:8.2f} {metric.unit:<2}  ({better} is better) {metric.description}")
    return values


if __name__ == "__main__":
    main()
