"""ear-sat reconstruct: encodes and decodes audio files of any length.

Takes files and folders (wav, flac, mp3, ogg, opus, aiff; others where ffmpeg is installed) and writes a wav file for
each, with its length, sample rate and channels. Finished files are skipped when the command is run again, so that a run
that was stopped, in whatever way, goes on. Ranks of torchrun or SLURM share the files.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from ..checks import path_argument
from ..compute import PRECISIONS
from ..engines import check_engine, runner
from ..errors import UserError
from ..files import disk_errors, make_folder
from ..host.opening import weights_source
from ..inference import ModelFile, Settings, open_model, plan_jobs, reconstruct_files, summarize
from ..inference.settings import CHANNELS, PEAKS, SUBTYPES
from ..inference.table import check_table, kept_results, write_table
from ..ranks import find_place
from .sharing import add_sharing, rank_line
from .weights_arguments import add_model_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    default = Settings()
    parser.add_argument("inputs", nargs="+", type=path_argument, metavar="IN", help="audio file, or folder of them")
    parser.add_argument("--out", type=path_argument, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--weights", type=path_argument, required=True, metavar="FILE", help="checkpoint of the autoencoder"
    )
    add_model_config(parser)
    parser.add_argument("--force", action="store_true", help="also do files that are there already")
    parser.add_argument(
        "--table", type=path_argument, metavar="FILE", help="a row per file: .csv, or .parquet (ear-sat[parquet])"
    )
    add_sharing(parser, "1; each opens the model for itself, and takes its turn of the GPUs")
    audio = parser.add_argument_group("audio")
    audio.add_argument(
        "--subtype", choices=SUBTYPES, default=default.subtype, help="samples of the output (default: pcm24)"
    )
    audio.add_argument(
        "--peaks",
        choices=PEAKS,
        help="samples above full scale: clip them (default for pcm24), keep them (default for float, and only there), "
        "or scale the file down",
    )
    audio.add_argument(
        "--channels",
        choices=CHANNELS,
        default=default.channels,
        help="more than two channels: report an error (default), downmix to stereo, take the first two, or do each "
        "by itself as mono, which keeps the layout and takes a multiple of the memory",
    )
    audio.add_argument("--sample", action="store_true", help="decode a draw from the posterior instead of its mean")
    audio.add_argument("--seed", type=int, help="of the draw, with --sample (default: 0)")
    work = parser.add_argument_group("computation")
    work.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU where there is one)")
    work.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=default.precision,
        help="32: float32 (default); bf16, and 16 on a GPU: faster, with noise of its own",
    )
    work.add_argument("--compile", action="store_true", help="compile the networks; for long runs")
    work.add_argument(
        "--chunk-seconds",
        type=float,
        default=default.chunk_seconds,
        help=f"audio computed at a time (default: {default.chunk_seconds:g}); the result does not depend on it",
    )
    work.add_argument(
        "--batch-size", type=int, default=default.batch_size, help="chunks computed at a time (default: 1)"
    )
    work.add_argument(
        "--attention-seconds",
        type=float,
        help="let the decoder's transformer see windows of this length only (default: the whole file, at any length)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Reconstructs; 1 if any file failed."""
    if arguments.seed is not None and not arguments.sample:
        raise UserError("--seed has no effect without --sample; give both or neither")
    settings = Settings(
        subtype=arguments.subtype,
        peaks=arguments.peaks,
        channels=arguments.channels,
        sample=arguments.sample,
        seed=arguments.seed or 0,
        precision=arguments.precision,
        compiled=arguments.compile,
        chunk_seconds=arguments.chunk_seconds,
        batch_size=arguments.batch_size,
        attention_seconds=arguments.attention_seconds,
    )
    out, place = arguments.out, find_place()
    check_engine(arguments.engine, arguments.processes)
    if arguments.engine == "ray" and arguments.device not in ("auto", "cpu"):
        raise UserError("--engine ray computes on processors; share GPUs with --processes, torchrun or SLURM instead")
    if arguments.table is not None:
        check_table(arguments.table)
    every = plan_jobs(arguments.inputs, out)
    jobs = place.share(every)
    weights = weights_source(arguments.weights, arguments.model_config)
    processes = arguments.processes or 1
    alone = arguments.engine == "local" and processes == 1
    file = ModelFile(weights, arguments.device, settings, place.local_rank * processes)
    # In any case: what is wrong with the weights is told before anything else is started.
    model = open_model(weights, arguments.device, settings, file.first_turn)
    make_folder(out)
    keeping = nullcontext(None) if arguments.table is None else kept_results(out, place.rank)
    with disk_errors(out), keeping as keep:
        if alone:
            results = reconstruct_files(model, jobs, settings, force=arguments.force, keep=keep)
        else:
            del model  # each process opens its own
            with runner(arguments.engine, arguments.processes, default=1) as run:
                results = reconstruct_files(file, jobs, settings, force=arguments.force, run=run, keep=keep)
        if arguments.table is not None:
            write_table(arguments.table, out, every)
    if place.size > 1:
        print(f"{rank_line(place)}: {len(jobs)} of {len(every)} file(s)")
    return 0 if summarize(results) else 1
