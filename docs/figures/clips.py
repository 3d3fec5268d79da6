"""Clips and table of docs/getting-started.md, from finished runs of the demo.

    python docs/figures/clips.py --ours runs/NAME --host runs/NAME

Writes docs/clips/{original,ours,host,noise}.mp3 and docs/figures/spectrograms.png, and prints the rows of the table.
The clip is a piece of synthesised music that ``demo`` holds out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import soundfile
import torch
from PIL import Image
from style import FOLDER
from torch import Tensor

import ear_sat
from ear_sat.data import DemoDataset
from ear_sat.json_file import load_json
from ear_sat.metrics import evaluate_pair
from ear_sat.models import Autoencoder
from ear_sat.report.spectrograms import save_spectrograms
from ear_sat.training.run.held_out import spectral_noise

RATE, SECONDS = 44100, 6.0
COLUMNS = ("stft_distance", "mel_distance", "si_sdr_db", "icpc", "ccpc")
CLIPS = FOLDER.parent / "clips"


def original() -> Tensor:
    """The held-out clip, (2, time)."""
    data = DemoDataset(sample_size=1, sample_rate=RATE, channels=2, seconds=12.0, split="held_out")
    return torch.from_numpy(data.track(0)[:, : int(SECONDS * RATE)])


def untrained(run: Path) -> Autoencoder:
    """The network of a run as it was before its first round, but for the draw."""
    torch.manual_seed(0)
    return Autoencoder.from_config(load_json(run / "model_config.json")).eval()


def row(label: str, preds: Tensor, target: Tensor) -> str:
    values = evaluate_pair(preds, target, RATE, COLUMNS).items()
    cells = [f"{value:.1f} dB" if name.endswith("_db") else f"{value:.3f}" for name, value in values]
    return f"| {' | '.join([label, *cells])} |"


def main() -> None:
    """Writes the clips, and prints the table's rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ours", type=Path, required=True, help="run folder of make train")
    parser.add_argument("--host", type=Path, help="run folder of the host's recipe on the same network")
    arguments = parser.parse_args()
    clip = original()
    clips = {"original": clip, "noise": spectral_noise(clip)}
    clips["ours"] = ear_sat.load_autoencoder(arguments.ours).reconstruct(clip, RATE)
    rows = [row("before training", untrained(arguments.ours).reconstruct(clip, RATE), clip)]
    rows.append(row("after `make train`", clips["ours"], clip))
    if arguments.host is not None:
        clips["host"] = ear_sat.load_autoencoder(arguments.host).reconstruct(clip, RATE)
        rows.append(row("the recipe of stable-audio-tools, same network and time", clips["host"], clip))
    rows.append(row("noise with the spectrum of the clip", clips["noise"], clip))
    CLIPS.mkdir(exist_ok=True)
    for name, audio in clips.items():
        soundfile.write(CLIPS / f"{name}.mp3", audio.T.clamp(-1, 1).numpy(), RATE, format="MP3")
    save_spectrograms(picture := FOLDER / "spectrograms.png", clips["ours"], clip, RATE)
    Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(picture, optimize=True)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
