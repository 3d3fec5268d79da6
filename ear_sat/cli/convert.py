"""ear-sat convert: rewrites weights as released .pyt, host .ckpt, .safetensors or hub folder; no value changes.

``ear-sat convert ear_vae_44k.pyt ear_vae_44k.safetensors``. The format follows the suffix of the target.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("src", type=Path, help="any file of weights")
    parser.add_argument(
        "dst", type=Path, help="file to write (.pyt, .ckpt, .safetensors), or a folder for --format hub"
    )
    add_target_arguments(parser)


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """What converting and exporting share."""
    parser.add_argument("--format", choices=("release", "host", "safetensors", "hub"), help="default: by the suffix")
    parser.add_argument("--force", action="store_true", help="replace an existing target")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="where the source does not say it")
    parser.add_argument("--dim-heads", type=int, metavar="N", help="channels per attention head; the same")
    parser.add_argument(
        "--final-tanh", action=argparse.BooleanOptionalAction, help="the decoder ends in a tanh; the same"
    )


def main(arguments: argparse.Namespace) -> int:
    """Converts."""
    write(arguments.src, arguments)
    return 0


def write(source: Path, arguments: argparse.Namespace) -> None:
    """Writes the weights of ``source`` to ``arguments.dst``; metadata is kept, and completed where a value is given."""
    from ..weights import (
        config_metadata,
        fit_checkpoint,
        format_of,
        read_checkpoint,
        refuse_existing,
        write_weights,
    )

    file_format = arguments.format or format_of(arguments.dst)
    if not arguments.force:
        refuse_existing(arguments.dst)
    checkpoint = read_checkpoint(source)
    known = {name: getattr(arguments, name) for name in ("sample_rate", "dim_heads", "final_tanh")}
    fitted = fit_checkpoint(checkpoint, **known)
    metadata = dict(checkpoint.metadata)
    complete = file_format == "hub" or any(value is not None for value in known.values())
    if complete:
        metadata |= config_metadata(fitted.config, checkpoint.rounds)
    state = fitted.model.state_dict()  # both keys of every shared parameter, whatever the source has
    write_weights(state, arguments.dst, metadata=metadata, file_format=file_format, overwrite=arguments.force)
    print(f"{arguments.dst}: {len(state)} tensors of {checkpoint.path} ({checkpoint.kind})")
    if fitted.assumed:
        stored = "written to its config" if complete else "assumed when it is loaded"
        print(f"not in the source and {stored}: {', '.join(fitted.assumed)}")
