"""What each precision of training does to a trained model's decoded audio, and to the losses' gradients there.

    python scripts/rounding.py --weights runs/NAME/export --audio FILE... [--start 20]

A GPU's arithmetic is emulated on the CPU. For each precision: SNR of the decoded audio against float32, and the cosine
of each loss term's gradient at that audio with the one in float32. "spared" is how ear_sat trains: the decoder's last
block in float32.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from gpu_arithmetic import GpuArithmetic
from gpu_setting import cosine
from gradient_noise import terms_of
from torch import Tensor

from ear_sat.checks import number
from ear_sat.cli import errors
from ear_sat.data import read_excerpt
from ear_sat.json_file import load_json
from ear_sat.losses import LossBundle
from ear_sat.models import Autoencoder
from ear_sat.report.tables import print_table
from ear_sat.weights import load_autoencoder

#: Row → autocast's type (None for float32, whose convolutions multiply TF32's 10 bits), and whether the end is spared.
PRECISIONS = {
    "bf16-mixed": (torch.bfloat16, False),
    "bf16-mixed, spared": (torch.bfloat16, True),
    "16-mixed": (torch.float16, False),
    "16-mixed, spared": (torch.float16, True),
    "32 (TF32)": (None, True),
}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="export folder of a run: model.safetensors and model_config.json")
    add("--audio", type=Path, nargs="+", required=True, help="music")
    add("--start", type=number(at_least=0), default=20.0, help="of the excerpt in seconds (default: %(default)s)")
    add("--seconds", type=number(above=0), default=1.5, help="its length (default: %(default)s)")
    return parser


def decoded(model: Autoencoder, audio: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The reconstruction as training computes it, of the posterior's mean."""
    with torch.no_grad(), torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        return model.decode(model.encode(audio)).float()


def main() -> int:
    arguments = get_parser().parse_args()
    config = load_json(arguments.weights / "model_config.json")
    losses = config["training"]["loss_configs"]
    terms = {name: entry for name, entry in losses.items() if name not in ("discriminator", "bottleneck")}
    model = load_autoencoder(arguments.weights / "model.safetensors").train()
    model.bottleneck.sample = "never"
    spared = model.decoder.unrounded_layers
    bundle, hop = LossBundle.from_config(terms, config["sample_rate"]), model.downsampling_ratio
    for path in arguments.audio:
        audio, _ = read_excerpt(path, 2, config["sample_rate"], arguments.start, arguments.seconds)
        audio = audio[None, :, : audio.shape[-1] // hop * hop]
        gradients = terms_of(bundle, audio)
        exact = decoded(model, audio, None)
        expected, rows = gradients(exact), []
        for name, (dtype, spares) in PRECISIONS.items():
            model.decoder.unrounded_layers = spared if spares else 0
            with GpuArithmetic():
                rounded = decoded(model, audio, dtype)
            snr = 20 * float((exact.norm() / (rounded - exact).norm()).log10())
            rows.append([name, snr, *(cosine(expected[term], found) for term, found in gradients(rounded).items())])
        print_table(path.name, ["precision", "SNR, dB", *expected], rows)
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
