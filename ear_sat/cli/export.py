"""ear-sat export: writes the weights of a run or of any file in another format, bit for bit, or as ONNX.

``ear-sat export runs/NAME model.safetensors``, ``ear-sat export ear_vae_44k.pyt ear_vae_44k.safetensors``. The format
follows the suffix of the target: .pyt, .ckpt, .safetensors, or .onnx (model.onnx: model.encoder.onnx and
model.decoder.onnx, checked with onnxruntime). ``--format hub`` writes a folder that the host's get_pretrained_model and
load_autoencoder read, with a model card; ``--format diffusers`` one of diffusers' AutoencoderOobleck. Of a training
checkpoint the moving average is taken where there is one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import path_argument
from ..errors import UserError
from .weights_arguments import add_model_config

if TYPE_CHECKING:
    from ..weights import Checkpoint, Fitted

FORMATS = ("release", "host", "safetensors", "onnx", "hub", "diffusers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "source", type=path_argument, help="run folder, checkpoint, any file of weights, or USER/NAME on the hub"
    )
    parser.add_argument(
        "target",
        type=path_argument,
        help="file to write (.pyt, .ckpt, .safetensors, .onnx), or a folder for --format hub or diffusers",
    )
    add_model_config(parser)
    parser.add_argument("--checkpoint", metavar="NAME", help="of a run folder: last (default), best or step-N")
    parser.add_argument("--format", choices=FORMATS, help="default: by the suffix")
    parser.add_argument("--force", action="store_true", help="replace an existing target")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="where the source does not say it")
    parser.add_argument("--dim-heads", type=int, metavar="N", help="channels per attention head; the same")
    parser.add_argument(
        "--final-tanh", action=argparse.BooleanOptionalAction, help="the decoder ends in a tanh; the same"
    )
    card = parser.add_argument_group("the card of --format hub")
    card.add_argument(
        "--results", type=path_argument, metavar="FILE", help="results.json of ear-sat evaluate, for its metrics"
    )
    card.add_argument("--system", metavar="NAME", help="of the results, where they have several")
    card.add_argument(
        "--licence", metavar="ID", help="of the weights, as the hub calls it: apache-2.0, cc-by-nc-4.0, …"
    )
    card.add_argument(
        "--training-data",
        metavar="TEXT",
        help="what it was trained on (default: of a run folder, its data sets' names)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Exports; metadata is kept, and completed where a value is given."""
    from ..host.opening import weights_source
    from ..weights import (
        config_metadata,
        fit_checkpoint,
        is_foreign,
        read_checkpoint,
        refuse_existing,
        write_weights,
    )
    from ..weights.onnx_export import onnx_files

    source, target = _checkpoint(arguments.source, arguments.checkpoint), arguments.target
    file_format = _format(arguments)
    for path in onnx_files(target) if file_format == "onnx" else (target,):
        if not arguments.force:
            refuse_existing(path)
    weights = weights_source(source, arguments.model_config)
    checkpoint = read_checkpoint(weights)
    known = {name: getattr(arguments, name) for name in ("sample_rate", "dim_heads", "final_tanh")}
    fitted = fit_checkpoint(checkpoint, weights.builder, **known)
    metadata = dict(checkpoint.metadata)
    whole = file_format in ("hub", "onnx")
    complete = whole or is_foreign(fitted.config) or any(v is not None for v in known.values())
    if complete:
        metadata |= config_metadata(fitted.config, checkpoint.rounds)
    if file_format == "onnx":
        _write_onnx(arguments, fitted, metadata)
    elif file_format == "diffusers":
        _write_diffusers(arguments, fitted)
    else:
        card = _card(arguments, fitted, checkpoint) if file_format == "hub" else None
        # Of ours, both keys of every shared parameter, whatever the source has.
        write_weights(
            fitted.state, target, metadata=metadata, file_format=file_format, overwrite=arguments.force, card=card
        )
    print(f"{target}: {len(fitted.state)} tensors of {checkpoint.path} ({checkpoint.kind})")
    if fitted.assumed:
        stored = "written to its config" if complete else "assumed when it is loaded"
        print(f"not in the source and {stored}: {', '.join(fitted.assumed)}")
    return 0


def _format(arguments: argparse.Namespace) -> str:
    from ..weights import format_of
    from ..weights.onnx_export import SUFFIX

    is_onnx = arguments.target.suffix.lower() == SUFFIX
    chosen: str = arguments.format or ("onnx" if is_onnx else format_of(arguments.target))
    if chosen == "onnx" and not is_onnx:
        raise UserError(f"give the target of --format onnx a name that ends in {SUFFIX}, not {arguments.target}")
    given = [flag for flag in ("results", "system", "licence", "training_data") if getattr(arguments, flag) is not None]
    if given and chosen != "hub":
        raise UserError(f"--{given[0].replace('_', '-')} is for the card of --format hub; leave it out")
    if arguments.system is not None and arguments.results is None:
        raise UserError("--system is one of --results; give both")
    return chosen


def _write_onnx(arguments: argparse.Namespace, fitted: Fitted, metadata: dict[str, str]) -> None:
    from ..weights.onnx_export import CHECKED_FRAMES, write_onnx

    errors = write_onnx(fitted.model.eval(), arguments.target, metadata, overwrite=arguments.force)
    for file, error in errors.items():
        print(f"{file}: within {error:.1e} of the model at {' and '.join(map(str, CHECKED_FRAMES))} latent frames")


def _write_diffusers(arguments: argparse.Namespace, fitted: Fitted) -> None:
    from ..weights.diffusers_layout import CONFIG, WEIGHTS, diffusers_layout
    from ..weights.writing import write_folder

    config, state = diffusers_layout(fitted.model)
    texts = {CONFIG: json.dumps(config, indent=2) + "\n"}
    write_folder(arguments.target, state, WEIGHTS, texts, overwrite=arguments.force)


def _card(arguments: argparse.Namespace, fitted: Fitted, checkpoint: Checkpoint) -> str:
    from ..json_file import load_json
    from ..weights.card import data_in_words, measured, model_card

    data, recorded = arguments.training_data, arguments.source / "dataset_config.json"
    if data is None and recorded.is_file():  # of a run
        data = data_in_words(load_json(recorded))
    return model_card(
        fitted.config,
        sum(parameter.numel() for parameter in fitted.model.parameters()),
        rounds=checkpoint.rounds,
        data=data,
        licence=arguments.licence,
        metrics=None if arguments.results is None else measured(arguments.results, arguments.system),
    )


def _checkpoint(source: Path, name: str | None) -> Path:
    """``source``, or the checkpoint called ``name`` of the run that it is the folder of."""
    folder = source / "checkpoints"
    try:
        is_run = folder.is_dir()
    except OSError:  # reading it will say why
        is_run = False
    if not is_run:
        if name is not None:
            raise UserError(f"--checkpoint is for run folders, and {source} is none; give the checkpoint itself")
        return source
    path = folder / f"{('last' if name is None else name).removesuffix('.ckpt')}.ckpt"
    if not path.is_file():
        names = sorted((path.stem for path in folder.glob("*.ckpt")), key=lambda name: (len(name), name))
        choices = f"--checkpoint can be {', '.join(names)}" if names else "the run saved no checkpoint"
        raise UserError(f"no such file: {path}; {choices}")
    return path
