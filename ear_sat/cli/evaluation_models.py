"""Models that ``ear-sat evaluate`` runs itself: one's own weights, and codecs of other libraries."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checks import path_argument
from ..codecs import CODECS, Codec, CodecFacts, find_codec
from ..compute import PRECISIONS
from ..errors import UserError
from ..files import disk_errors, make_folder
from ..host.opening import weights_source
from ..models.reconstruction import DEFAULT_CHUNK_SECONDS
from ..report.tables import print_table
from ..weights import Source, resolve
from ..weights.hub import hub_name
from .weights_arguments import add_model_config


def add_codecs(parser: argparse.ArgumentParser) -> None:
    """``--codec``."""
    parser.add_argument(
        "--codec",
        action="append",
        default=[],
        metavar="CODEC",
        help=f"a codec to run on the music: {', '.join(CODECS)}, a model on the hub as USER/NAME, or the folder of a "
        "model; NAME=… names it, and encodec_48khz:6 is that one at 6 kbit/s (default: its highest); once per codec",
    )


def add_own_model(parser: argparse.ArgumentParser) -> None:
    """The options of a model of one's own."""
    own = parser.add_argument_group("with a model of one's own")
    own.add_argument(
        "--weights",
        type=path_argument,
        metavar="FILE",
        help="checkpoint or export of an autoencoder, 44k or 48k, or USER/NAME on the hub",
    )
    add_model_config(own)
    own.add_argument(
        "--data", type=path_argument, metavar="DIR", help="folder of music for it, in place of --reference"
    )
    own.add_argument(
        "--test-tones",
        action="store_true",
        help="measure distortion, response, impulse, crosstalk and noise of --weights, with or without --data",
    )
    own.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU where there is one)")
    own.add_argument("--precision", choices=PRECISIONS, default="32", help="float32 (default), bfloat16 or float16")
    own.add_argument(
        "--chunk-seconds",
        type=float,
        default=DEFAULT_CHUNK_SECONDS,
        help=f"audio computed at a time (default: {DEFAULT_CHUNK_SECONDS:g})",
    )
    own.add_argument("--batch-size", type=int, default=1, help="chunks computed at a time (default: 1)")


def models_of(arguments: argparse.Namespace, estimates: dict[str, Path]) -> dict[str, Source | Codec]:
    """Name → what is to reconstruct the music: --weights, and each --codec, which is downloaded now."""
    models: dict[str, Source | Codec] = {}
    if arguments.data is not None and arguments.weights is not None:
        models[system_name(arguments.weights)] = _weights(arguments)
    for text in arguments.codec:
        name, codec = find_codec(text)
        if name in models or name in estimates:
            raise UserError(f"{name} names two systems; give --codec {text} a name of its own with NAME=…")
        models[name] = codec if isinstance(codec, Codec) else weights_source(resolve(codec))
    return models


def system_name(weights: Path) -> str:
    """The system's name in the results: of the file, of the folder of an export or run, or of a hub's model."""
    on_hub = hub_name(weights)
    return weights.resolve().stem if on_hub is None else on_hub.name


def _weights(arguments: argparse.Namespace) -> Source:
    """The file that ``--weights`` stands for, which may be a folder or the name of a release, and its config."""
    file = resolve(arguments.weights)
    if not file.exists():
        raise UserError(f"no such file: {file}; give the checkpoint of an autoencoder")
    return weights_source(file, arguments.model_config)


def measure_by_tones(arguments: argparse.Namespace) -> None:
    """Measures ``--weights`` as a device is measured, and prints and writes what came out."""
    import torch
    from tqdm import tqdm

    from ..compute import true_float32
    from ..inference import Settings, open_model
    from ..tones import measure_tones, save_tone_report, tone_tables

    model = open_model(_weights(arguments), arguments.device, Settings(precision=arguments.precision))
    make_folder(arguments.out / "test_tones")
    with tqdm(unit="signal", disable=None) as bar:

        def process(signal: torch.Tensor) -> torch.Tensor:
            with true_float32():
                return model.reconstruct(signal, model.sample_rate, chunk_seconds=arguments.chunk_seconds)

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        results = measure_tones(process, model.sample_rate, progress=progress)
    with disk_errors(arguments.out):
        page = save_tone_report(results, arguments.out / "test_tones")
    for table in tone_tables(results):
        print_table(*table)
    print(f"test tones: {page}")


def reconstruct_with(
    arguments: argparse.Namespace, name: str, model: Source | Codec, music: Path
) -> tuple[Path, dict[Path, str], CodecFacts]:
    """See :func:`ear_sat.evaluate.reconstructions.reconstruct_folder`."""
    from ..evaluate.reconstructions import reconstruct_folder
    from ..inference import Settings

    settings = Settings(
        subtype="float",
        channels="downmix",  # as the measurement does with the references
        precision="32" if isinstance(model, Codec) else arguments.precision,  # as published
        chunk_seconds=arguments.chunk_seconds,
        batch_size=arguments.batch_size,
    )
    return reconstruct_folder(name, model, music, arguments.out, settings, arguments.device)
