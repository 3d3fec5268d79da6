"""Arguments that ``latent-stats`` and ``pre-encode`` share."""

from __future__ import annotations

import argparse

from ..checks import path_argument
from .weights_arguments import add_model_config


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Weights, data, windows and device."""
    inputs = parser.add_argument_group("model and music")
    inputs.add_argument(
        "--weights", type=path_argument, required=True, help="released, exported or training weights, or their folder"
    )
    add_model_config(inputs)
    data = inputs.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=path_argument, metavar="DIR", help="folder of audio files, with its subfolders")
    data.add_argument(
        "--dataset-config",
        type=path_argument,
        metavar="CONFIG",
        help="name or JSON file, of type ear_audio, ear_demo or audio_dir",
    )
    inputs.add_argument(
        "--sample-size",
        type=int,
        metavar="N",
        help="samples per window, a multiple of the model's hop (default: about 30 s, which take 6 GB of memory)",
    )
    work = parser.add_argument_group("computation")
    work.add_argument("--batch-size", type=int, default=1, metavar="N", help="windows at a time (default: 1)")
    work.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    inputs.add_argument(
        "--sample-rate", type=int, metavar="HZ", help="of the weights, where their file does not say it"
    )
