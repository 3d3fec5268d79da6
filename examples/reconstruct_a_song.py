"""Reconstructs a song and measures the result: ``python examples/reconstruct_a_song.py SONG WEIGHTS``.

WEIGHTS is 44k for the released model (after ``ear-sat download 44k``), a file, or the folder of a run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import soundfile
import torch

import ear_sat
from ear_sat.metrics import evaluate_pair


def main(song: str, weights: str) -> dict[str, float]:
    """Writes SONG.reconstructed.wav beside the song, and returns its metrics."""
    model = ear_sat.load_autoencoder(weights)
    samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    original = torch.from_numpy(samples.T)
    reconstructed = model.reconstruct(original, rate)
    path = Path(song).with_suffix(".reconstructed.wav")
    soundfile.write(path, reconstructed.T.numpy(), rate, subtype="FLOAT")
    values = evaluate_pair(reconstructed, original, rate, ["si_sdr_db", "stft_distance", "icpc", "ccpc"])
    print(f"{path}: {', '.join(f'{name} {value:.3f}' for name, value in values.items())}")
    return values


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: reconstruct_a_song.py SONG WEIGHTS")
    main(*sys.argv[1:])
