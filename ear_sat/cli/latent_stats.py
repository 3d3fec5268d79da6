"""ear-sat latent-stats: what the latents of your music are like for a diffusion model, and the pretransform's scale.

Mean, deviation, KL, kurtosis and smoothness of every channel, the dimensions that they fill, the spectrum over time,
and, with --noise-snr, what noise on them does to the audio.

The host divides latents by the ``scale`` of the pretransform config; 1 unless it is set. The value printed here, the
standard deviation of all latents, brings theirs to 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..checks import path_argument
from .encoding_arguments import add_input_arguments

if TYPE_CHECKING:
    from ..encoding import LatentStats

MAX_BAD_FILES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_input_arguments(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="look at N windows, chosen at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of that choice, and of noise (default: 0)")
    parser.add_argument(
        "--dead-below",
        type=float,
        default=0.01,
        metavar="VARIANCE",
        help="a channel whose mean varies by no more than this is dead (default: 0.01)",
    )
    parser.add_argument(
        "--noise-snr",
        type=float,
        nargs="+",
        default=[],
        metavar="DB",
        help="decode with noise on the latents at these signal-to-noise ratios as well, such as 40 20 10 0",
    )
    parser.add_argument(
        "--out", type=path_argument, metavar="DIR", help="write latent_stats.json and latent_stats.png there"
    )


def main(arguments: argparse.Namespace) -> int:
    """Measures, prints and writes."""
    from ..data.windows import data_config
    from ..encoding import latent_stats
    from ..encoding.latent_files import write_file
    from ..files import disk_errors, make_folder
    from ..host.opening import weights_source
    from ..report.latents import save_latent_plot
    from ..report.tables import print_table

    config = data_config(arguments.data, arguments.dataset_config)
    if arguments.out is not None:
        make_folder(arguments.out)  # before the work
    stats, record = latent_stats(
        weights_source(arguments.weights, arguments.model_config),
        config,
        sample_size=arguments.sample_size,
        batch_size=arguments.batch_size,
        limit=arguments.limit,
        seed=arguments.seed,
        device=arguments.device,
        dead_below=arguments.dead_below,
        noise_snrs_db=arguments.noise_snr,
        sample_rate=arguments.sample_rate,
    )
    name = arguments.weights.name
    print_table(f"Latents of {name}", ["", ""], _overall(stats))
    print_table("Power over time", ["frequencies of the latents", "share"], _spectrum(stats))
    if stats.noise:
        columns = ["latent SNR, dB", "si_sdr_db", "stft_distance"]
        print_table("Decoded with noise on the latents, against without", columns, [list(row) for row in stats.noise])
    columns, rows = _channels(stats)
    print_table("Channels", columns, rows, notes=[_advice(stats), *bad_file_lines(stats.bad_files)])
    if arguments.out is not None:
        write_file(arguments.out / "latent_stats.json", (json.dumps(record, indent=2) + "\n").encode())
        with disk_errors(arguments.out):
            save_latent_plot(
                arguments.out / "latent_stats.png",
                mean=stats.mean,
                std=stats.std,
                posterior_std=stats.posterior_std,
                kl=stats.kl,
                dead=stats.dead,
                dead_below=stats.dead_below,
                scale=stats.scale,
                eigenvalues=stats.shape.eigenvalues,
                effective_rank=stats.shape.effective_rank,
                band_edges=stats.band_edges,
                spectrum=stats.shape.spectrum,
                title=f"Latents of {name}: {stats.windows} windows, {stats.seconds / 60:.1f} minutes",
            )
        print(f"written: {arguments.out / 'latent_stats.json'}, {arguments.out / 'latent_stats.png'}")
    return 0


def _overall(stats: LatentStats) -> list[list[Any]]:
    dead = f"{stats.dead.sum()} of {len(stats.dead)} ({stats.dead.mean():.1%})"
    return [
        ["scale (std of all latents)", f"{stats.scale:.6g}"],
        ["mean of all latents", stats.overall_mean],
        ["KL, sum of channels", float(stats.kl.sum())],
        ["effective rank", stats.shape.effective_rank],
        ["smoothness (white 1, constant 0)", stats.shape.overall_smoothness],
        ["kurtosis (Gaussian 3)", stats.shape.overall_kurtosis],
        [f"dead channels (variance ≤ {stats.dead_below:g})", dead],
        ["windows", stats.windows],
        ["minutes", stats.seconds / 60],
        ["latent frames", stats.frames],
    ]


def _spectrum(stats: LatentStats) -> list[list[Any]]:
    edges = [f"{edge:.3g}" for edge in stats.band_edges]
    shares = stats.shape.spectrum.tolist()
    return [[f"{low} to {high} Hz", share] for low, high, share in zip(edges, edges[1:], shares, strict=False)]


def _channels(stats: LatentStats) -> tuple[list[str], list[list[Any]]]:
    """Two channels per row, where their number is even."""
    columns = (stats.mean, stats.std, stats.kl, stats.shape.kurtosis, stats.shape.smoothness)
    cells = [
        [index, *(round(float(values[index]), 4) for values in columns), "dead" * dead]
        for index, dead in enumerate(stats.dead.tolist())
    ]
    blocks = 1 if len(cells) % 2 else 2
    height = len(cells) // blocks
    rows = [[cell for block in cells[row::height] for cell in block] for row in range(height)]
    return ["channel", "mean", "std", "KL", "kurtosis", "smooth", ""] * blocks, rows


def _advice(stats: LatentStats) -> str:
    if not stats.scale > 0:
        return "The latents do not vary at all, so there is no scale for them: the encoder has collapsed."
    return (
        f'In the model config of the diffusion model: "pretransform": {{"type": "autoencoder", '
        f'"scale": {stats.scale:.6g}, "config": …}}'
    )


def bad_file_lines(bad_files: dict[str, str]) -> Sequence[str]:
    """One line per file that could not be used, and how many more there are."""
    if not bad_files:
        return []
    lines = [f"  {path}: {reason}" for path, reason in list(bad_files.items())[:MAX_BAD_FILES]]
    more = len(bad_files) - len(lines)
    return [f"bad files: {len(bad_files)}", *lines, *([f"  … and {more} more"] if more else [])]
