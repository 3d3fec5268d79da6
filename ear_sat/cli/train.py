"""ear-sat train: trains εar-VAE, or any model of the host, from a model config and a dataset config.

The flags are the host's under their names and meanings, and ours. ``scripts/train.py`` is the same.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import importlib
import importlib.util
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import number, path_argument, whole
from ..errors import UserError
from .errors import add_debug
from .examples import EXAMPLES
from .help import Formatter, to_copy

if TYPE_CHECKING:
    from ..training.run.folder import RunFolder
    from ..training.run.job import Builders

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """The parser; defaults are those of :class:`ear_sat.training.run.options.TrainOptions`."""
    parser = argparse.ArgumentParser(
        prog="ear-sat train",
        description="Train a model from a model config and a dataset config.",
        epilog=to_copy("examples:", EXAMPLES["train"]),
        formatter_class=Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument(
        "--model-config",
        type=path_argument,
        metavar="CONFIG",
        help="model and training: a name such as ear_vae, or a JSON file",
    )
    inputs.add_argument(
        "--dataset-config",
        type=path_argument,
        metavar="CONFIG",
        help="training data: a name such as demo, or a JSON file",
    )
    inputs.add_argument(
        "--val-dataset-config",
        type=path_argument,
        metavar="CONFIG",
        help="validation data, likewise (default: what is held out)",
    )
    inputs.add_argument(
        "--pretrained-ckpt-path",
        type=path_argument,
        help="weights to start a new run from: released .pyt, .ckpt, .safetensors, or a training checkpoint",
    )
    inputs.add_argument(
        "--allow-partial", action="store_true", help="load what fits of --pretrained-ckpt-path and print the coverage"
    )
    inputs.add_argument(
        "--reuse-discriminator", action="store_true", help="take the discriminator of that training checkpoint as well"
    )
    inputs.add_argument(
        "--pretransform-ckpt-path", type=path_argument, help="weights of the pretransform of a diffusion model"
    )
    inputs.add_argument(
        "--import",
        dest="imports",
        action="append",
        metavar="MODULE",
        help="import a module of yours first, which may register losses; may be repeated",
    )
    inputs.add_argument(
        "--remove-pretransform-weight-norm",
        choices=("", "pre_load", "post_load"),
        metavar="WHEN",
        help="fold the weight norm of a pretransform: pre_load or post_load, before or after its weights are loaded",
    )
    inputs.add_argument(
        "--config-file", type=path_argument, help="INI file whose [DEFAULTS] hold any of these flags, as the host's"
    )
    run = parser.add_argument_group("run folder")
    run.add_argument("--name", help="run folder below --save-dir (default: config name and time)")
    run.add_argument("--save-dir", type=path_argument, help="folder of all runs (default: runs)")
    run.add_argument(
        "--resume",
        type=path_argument,
        metavar="RUN",
        help="continue the run in this folder, with its batch and such flags unless others are given",
    )
    run.add_argument(
        "--ckpt-path", type=path_argument, help="Lightning checkpoint to continue from in a new run folder"
    )
    run.add_argument("--checkpoint-every", type=whole(1), metavar="ROUNDS", help="default: 10000")
    run.add_argument(
        "--checkpoint-minutes",
        type=number(at_least=0),
        metavar="MINUTES",
        help="longest time without a last.ckpt (default: 30; 0: any)",
    )
    run.add_argument(
        "--save-top-k", type=whole(-1), metavar="K", help="step checkpoints to keep, the newest; -1 (default): all"
    )
    run.add_argument(
        "--logger",
        choices=("wandb", "comet", "tensorboard", "csv", "none"),
        help="default: csv; metrics.csv is always written",
    )
    loop = parser.add_argument_group("training")
    loop.add_argument("--batch-size", type=whole(1), help="clips per process and batch (default: 8)")
    loop.add_argument("--max-steps", type=whole(1), metavar="ROUNDS", help="default: all phases")
    loop.add_argument(
        "--max-minutes", type=number(above=0), metavar="MINUTES", help="training time, over all resumptions"
    )
    loop.add_argument("--accum-batches", type=whole(1), help="batches per round (default: 1)")
    loop.add_argument(
        "--gradient-clip-val", type=number(at_least=0), help="largest gradient norm per player; overrides the config"
    )
    loop.add_argument(
        "--val-every", type=whole(-1), metavar="ROUNDS", help="rounds between validations; -1 (default): never"
    )
    loop.add_argument(
        "--held-out-every",
        type=whole(0),
        metavar="ROUNDS",
        help="rounds between measurements of the held-out clip; 0: first and last only (default: 500)",
    )
    loop.add_argument("--seed", type=whole(0, at_most=2**32 - 1), help="default: 42; a resumed run has its own")
    loop.add_argument("--num-workers", type=whole(0), help="data loading processes (default: one per core, at most 8)")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--accelerator", choices=("auto", "cpu", "gpu", "cuda", "mps", "tpu"), help="default: auto")
    machine.add_argument("--devices", "--num-gpus", dest="devices", help="number of devices, or auto (default)")
    machine.add_argument("--num-nodes", type=whole(1), help="default: 1")
    machine.add_argument("--strategy", help="Lightning strategy (default: ddp on several devices)")
    machine.add_argument("--precision", help="default: 32 on the CPU, bf16-mixed (16-mixed on old cards) on a GPU")
    machine.add_argument("--compile", action="store_true", help="compile the networks with torch.compile")
    add_debug(parser)
    return parser


def _ini_flags(path: Path) -> list[str]:
    """Flags from the host's kind of INI file; empty values are left out, and its ``recover``, which does nothing."""
    from ..training.run.options import TrainOptions

    switches = [
        f"--{field.name.replace('_', '-')}" for field in fields(TrainOptions) if isinstance(field.default, bool)
    ]
    ini = configparser.ConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            ini.read_file(file)
        items = dict(ini.items("DEFAULTS"))
    except (OSError, configparser.Error) as error:
        raise UserError(f"cannot read {path} as an INI file with a [DEFAULTS] section: {error}") from None
    flags = []
    for key, value in ((f"--{key.replace('_', '-')}", value.strip().strip("\"'")) for key, value in items.items()):
        if not value or key == "--recover":
            continue
        if key not in switches:
            flags.append(f"{key}={value}")
        elif value.lower() not in ini.BOOLEAN_STATES:
            raise UserError(f"{key[2:]} in {path} must be true or false, not {value!r}")
        elif ini.BOOLEAN_STATES[value.lower()]:
            flags.append(key)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = get_parser()
    arguments = vars(parser.parse_args(argv))
    if "config_file" in arguments:
        arguments = {**vars(parser.parse_args(_ini_flags(arguments.pop("config_file")))), **arguments}
    needs = [flag for flag in ("allow_partial", "reuse_discriminator") if arguments.get(flag)]
    if needs and "pretrained_ckpt_path" not in arguments:
        raise UserError(f"--{needs[0].replace('_', '-')} goes with --pretrained-ckpt-path; give that too")
    if not arguments.get("compile"):
        # The host prepares torch.compile on import, which starts idle compiler processes of 0.6 GB each.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    modules = arguments.pop("imports", [])
    _import(modules, arguments.get("model_config"))
    for package in ("pytorch_lightning", "ema_pytorch"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f'training needs {package}, which is not installed; run: pip install "ear-sat[train]"')
    from ..training.run.folder import RunFolder
    from ..training.run.options import TrainOptions
    from ..training.run.train import train

    if "resume" in arguments:
        arguments = {**_flags_of(parser, RunFolder(arguments["resume"]), arguments), **arguments}
    train(TrainOptions(**arguments), _builders())
    return 0


def _flags_of(parser: argparse.ArgumentParser, run: RunFolder, instead: Mapping[str, Any]) -> dict[str, Any]:
    """What the flags that a run was begun with stand for, but for those that are given ``instead``."""
    begun = run.read_flags()
    if not begun and run.model_config.exists():
        logger.warning(
            "%s does not say with which flags it was begun: those that are not given have their defaults, such as "
            "--batch-size 8",
            run.root,
        )
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            flags = {name: value for name, value in vars(parser.parse_args(begun)).items() if name not in instead}
    except SystemExit:
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise UserError(f'the "flags" in {run.versions} cannot be used ({reason}); correct or remove them') from None
    held_out = flags.get("val_dataset_config")
    if held_out is not None and held_out.is_absolute() and not held_out.is_file():
        raise UserError(f"{held_out}, with which {run.root} was begun, is gone; give another --val-dataset-config")
    return flags


def _import(modules: Sequence[str], model_config: Path | None) -> None:
    """Imports ``modules``; theirs and the config's come from the working folder and the config's too."""
    folders = [Path.cwd(), *([model_config.resolve().parent] if model_config else [])]
    sys.path += [str(folder) for folder in folders if str(folder) not in sys.path]
    for name in modules:
        try:
            importlib.import_module(name)
        except (ImportError, ValueError) as error:  # ValueError: an empty name
            raise UserError(
                f"--import {name} failed ({error}); name one of the working folder, the config's, or an installed one"
            ) from error


def _builders() -> Builders:
    """The host's factories where there is a host, else the engine's own."""
    if importlib.util.find_spec("stable_audio_tools") is None:
        from ..training.run.own import OwnBuilders

        return OwnBuilders()
    from .. import register
    from ..host.jobs import HostBuilders

    register()
    return HostBuilders()
