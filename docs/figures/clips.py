"""The clips to listen to on the page "What to expect", and its curve.

    python docs/figures/clips.py --ours runs/NAME --host study/runs/host-generator-l1-seed1 --out docs/clips

All are of a synthesised track that no training saw: the original, what ``make train``'s model and the best of the
host's recipes make of it, and noise with the original's long-term spectrum. The files are mp3, below 300 kB each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import soundfile
import torch

from ear_sat.cli import errors
from ear_sat.data import DemoDataset
from ear_sat.host.opening import weights_source
from ear_sat.inference import Settings, open_model
from ear_sat.metrics import evaluate_pair
from ear_sat.models import reconstruct
from ear_sat.training.run.held_out import METRICS, spectral_noise

RATE, SECONDS, TRACK = 44100, 8.0, 3


def main() -> None:
    """Writes the clips and prints what each scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--ours", type=Path, required=True, help="run folder of make train")
    parser.add_argument("--host", type=Path, required=True, help="run folder of the host's recipe")
    parser.add_argument("--out", type=Path, required=True, help="folder for the clips")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    size = round(SECONDS * RATE)
    original = torch.from_numpy(DemoDataset(size, RATE, split="held_out").track(TRACK)[:, :size].copy())
    clips = {"original": original, "noise": spectral_noise(original)}
    for name, run in (("ours", arguments.ours), ("host", arguments.host)):
        model = open_model(weights_source(run / "export" / "model.safetensors"), "cpu", Settings())
        clips[name] = reconstruct(model, original.unsqueeze(0))[0]
    for name, clip in clips.items():
        file = arguments.out / f"{name}.mp3"
        soundfile.write(file, clip.clamp(-1, 1).T.numpy(), RATE, format="MP3", compression_level=0.3)
        values = evaluate_pair(clip, original, RATE, names=METRICS) if name != "original" else {}
        print(f"{file} {file.stat().st_size / 1000:.0f} kB", {key: round(value, 3) for key, value in values.items()})


if __name__ == "__main__":
    sys.exit(errors.run(main))
