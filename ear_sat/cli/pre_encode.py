"""ear-sat pre-encode: turns a data set into latents that the host's "pre_encoded" data set trains from.

A run that was stopped, in whatever way, continues with the same command. Several processes share the files with
``--processes N``; torchrun and SLURM work too.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ..checks import path_argument
from .encoding_arguments import add_input_arguments
from .latent_stats import bad_file_lines

if TYPE_CHECKING:
    from ..encoding import PreEncodeResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_input_arguments(parser)
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="DIR", help="folder of latents, new or to continue"
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="that share the files (default: 1)")
    parser.add_argument("--precision", default="32", help="32 (default), bf16 or 16; files are float32 in any case")
    parser.add_argument("--compile", action="store_true", help="compile the network; for long runs")
    parser.add_argument("--sample", action="store_true", help="draw from the posterior (default: its mean)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--limit", type=int, metavar="N", help="encode the first N windows only")


def main(arguments: argparse.Namespace) -> int:
    """Encodes and prints what was done."""
    from ..data.windows import data_config
    from ..encoding import pre_encode
    from ..host.opening import weights_source
    from ..report.tables import print_table

    result = pre_encode(
        weights_source(arguments.weights, arguments.model_config),
        data_config(arguments.data, arguments.dataset_config),
        arguments.out,
        sample_size=arguments.sample_size,
        batch_size=arguments.batch_size,
        processes=arguments.processes,
        device=arguments.device,
        precision=arguments.precision,
        compiled=arguments.compile,
        sample=arguments.sample,
        seed=arguments.seed,
        limit=arguments.limit,
        sample_rate=arguments.sample_rate,
    )
    print_table(f"Latents in {result.out}", ["", ""], _rows(result), notes=bad_file_lines(result.bad_files))
    print("Dataset config of the diffusion model, also in dataset_config.json:")
    print(json.dumps(result.dataset_config(), indent=2))
    print(
        f'In its model config: "sample_size": {result.sample_size}, and "pre_encoded": true under "training"; '
        "ear-sat latent-stats gives the pretransform's scale."
    )
    return 0


def _rows(result: PreEncodeResult) -> list[list[Any]]:
    place = result.place
    rows: list[list[Any]] = []
    if place.size > 1:
        rows.append(["share", f"rank {place.rank} of {place.size} ({place.launcher}); the others report their own"])
    rows += [
        ["windows written", result.written],
        ["windows there already", result.present],
        ["windows rejected by get_custom_metadata", result.rejected],
        ["bad files", len(result.bad_files)],
        ["window", f"{result.sample_size} samples, {result.frames} latent frames"],
        ["hours of audio written", result.seconds / 3600],
        ["times real time", result.seconds / result.elapsed if result.written else None],
    ]
    return rows
