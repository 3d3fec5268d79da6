"""ear-sat export: turns a training run or checkpoint into weights to use and to share.

``ear-sat export runs/NAME model.safetensors``; with ``--format hub`` a folder that the host's get_pretrained_model and
load_autoencoder read. The moving average is taken where there is one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import UserError
from . import convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run", type=Path, help="run folder, or a checkpoint of a run")
    parser.add_argument(
        "dst", type=Path, help="file to write (.pyt, .ckpt, .safetensors), or a folder for --format hub"
    )
    parser.add_argument("--checkpoint", metavar="NAME", help="of a run folder: last (default), best or step-N")
    convert.add_target_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Exports."""
    source: Path = arguments.run
    folder = source / "checkpoints"
    try:
        is_run = folder.is_dir()
    except OSError:  # reading it will say why
        is_run = False
    if is_run:
        source = folder / f"{(arguments.checkpoint or 'last').removesuffix('.ckpt')}.ckpt"
        if not source.is_file():
            names = sorted((path.stem for path in folder.glob("*.ckpt")), key=lambda name: (len(name), name))
            choices = f"--checkpoint can be {', '.join(names)}" if names else "the run saved no checkpoint"
            raise UserError(f"no such file: {source}; {choices}")
    elif arguments.checkpoint:
        raise UserError(f"--checkpoint is for run folders, and {source} is none; give the checkpoint itself")
    convert.write(source, arguments)
    return 0
