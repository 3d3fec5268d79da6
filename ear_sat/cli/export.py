"""ear-sat export: writes the weights of a run or of any file as .pyt, .ckpt, .safetensors or hub folder, bit for bit.

``ear-sat export runs/NAME model.safetensors``, ``ear-sat export ear_vae_44k.pyt ear_vae_44k.safetensors``. The format
follows the suffix of the target; ``--format hub`` writes a folder that the host's get_pretrained_model and
load_autoencoder read. Of a training checkpoint the moving average is taken where there is one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checks import path_argument
from ..errors import UserError
from .weights_arguments import add_model_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("source", type=path_argument, help="run folder, checkpoint, or any file of weights")
    parser.add_argument(
        "target", type=path_argument, help="file to write (.pyt, .ckpt, .safetensors), or a folder for --format hub"
    )
    add_model_config(parser)
    parser.add_argument("--checkpoint", metavar="NAME", help="of a run folder: last (default), best or step-N")
    parser.add_argument("--format", choices=("release", "host", "safetensors", "hub"), help="default: by the suffix")
    parser.add_argument("--force", action="store_true", help="replace an existing target")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="where the source does not say it")
    parser.add_argument("--dim-heads", type=int, metavar="N", help="channels per attention head; the same")
    parser.add_argument(
        "--final-tanh", action=argparse.BooleanOptionalAction, help="the decoder ends in a tanh; the same"
    )


def main(arguments: argparse.Namespace) -> int:
    """Exports; metadata is kept, and completed where a value is given."""
    from ..host.opening import weights_source
    from ..weights import (
        config_metadata,
        fit_checkpoint,
        format_of,
        is_foreign,
        read_checkpoint,
        refuse_existing,
        write_weights,
    )

    source, target = _checkpoint(arguments.source, arguments.checkpoint), arguments.target
    file_format = arguments.format or format_of(target)
    if not arguments.force:
        refuse_existing(target)
    weights = weights_source(source, arguments.model_config)
    checkpoint = read_checkpoint(weights)
    known = {name: getattr(arguments, name) for name in ("sample_rate", "dim_heads", "final_tanh")}
    fitted = fit_checkpoint(checkpoint, weights.builder, **known)
    metadata = dict(checkpoint.metadata)
    complete = file_format == "hub" or is_foreign(fitted.config) or any(v is not None for v in known.values())
    if complete:
        metadata |= config_metadata(fitted.config, checkpoint.rounds)
    # Of ours, both keys of every shared parameter, whatever the source has.
    write_weights(fitted.state, target, metadata=metadata, file_format=file_format, overwrite=arguments.force)
    print(f"{target}: {len(fitted.state)} tensors of {checkpoint.path} ({checkpoint.kind})")
    if fitted.assumed:
        stored = "written to its config" if complete else "assumed when it is loaded"
        print(f"not in the source and {stored}: {', '.join(fitted.assumed)}")
    return 0


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
