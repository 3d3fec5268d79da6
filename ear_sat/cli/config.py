"""ear-sat config: makes a config to edit or a variant of one, shows where two differ, or lists those there are.

``--list`` prints the names of the configs that come with ear_sat, and ``ear-sat config ear_vae --out mine.json`` writes
a copy of one. Variants are plain JSON, so that the host's scripts read them as well: ``ear-sat config ear_vae --set
training.loss_configs.magnitude.config.weighting=a --out mine.json`` writes one; ``--unset training.loss_configs.
correlation`` removes an entry; ``--model-from ear_vae_44k.pyt`` takes the autoencoder (of a diffusion model: its
pretransform) from a file of weights, and ``--diff`` lists the differences of two configs. ``--schema`` prints the JSON
Schema of model configs (``--schema dataset``: of dataset configs), by which editors complete and check them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..checks import path_argument
from ..config_edits import ABSENT, differences, remove, set_value
from ..errors import UserError
from ..files import write_text
from ..json_file import load_json
from ..named_configs import DATASET, DESCRIPTIONS, MODEL, PLAN, find_config, load_config, named_configs
from .weights_arguments import add_model_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "base", nargs="?", type=path_argument, help="config to start from: a name such as ear_vae, or a JSON file"
    )
    start.add_argument(
        "--schema", nargs="?", const="model", choices=("model", "dataset"), help="print the JSON Schema of configs"
    )
    start.add_argument("--list", action="store_true", help="print the names there are, with what they are for")
    parser.add_argument(
        "--model-from", type=path_argument, metavar="FILE", help="describe the model of this file of weights"
    )
    add_model_config(parser)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=JSON", help="set a value; lists by index")
    parser.add_argument("--unset", action="append", default=[], metavar="PATH", help="remove a key")
    parser.add_argument("--diff", type=path_argument, metavar="OTHER", help="list the differences to another config")
    parser.add_argument("--out", type=path_argument, help="file to write (default: print)")


def main(arguments: argparse.Namespace) -> int:
    """Writes, prints, compares or lists."""
    if arguments.list:
        return _list()
    if arguments.schema:
        return _schema(arguments.schema, arguments.out)
    if arguments.diff and arguments.out:
        raise UserError("--diff prints the differences and writes no config; drop --out or --diff")
    base = find_config(arguments.base)
    config = load_json(base)
    _edit(config, arguments)
    if arguments.diff:
        for path, ours, theirs in differences(config, load_config(arguments.diff)):
            print(f"{path}: {_show(ours)} → {_show(theirs)}")
        return 0
    changed = arguments.model_from or arguments.set or arguments.unset
    # A copy keeps the layout that its author gave it.
    text = json.dumps(config, indent=2) + "\n" if changed else base.read_text(encoding="utf-8")
    _put(text, arguments.out)
    return 0


def _put(text: str, out: Path | None) -> None:
    """Prints, or writes a new file."""
    if out is None:
        print(text, end="")
    elif out.exists():
        raise UserError(f"{out} exists already; choose another name or remove it")
    else:
        _write(out, text)
        print(f"wrote {out}")


def _edit(config: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Does what the flags say to the config, in their order: weights, values set, keys removed."""
    if arguments.model_from:
        _take_model(config, arguments.model_from, arguments.model_config)
    elif arguments.model_config:
        raise UserError("--model-config goes with --model-from, whose weights it describes; give both")
    for assignment in arguments.set:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise UserError(f"--set takes PATH=JSON, not {assignment!r}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text  # A bare word is a string.
        set_value(config, path, value)
    for path in arguments.unset:
        remove(config, path)


def _list() -> int:
    for folder in (MODEL, DATASET, PLAN):
        names = named_configs(folder)
        print(folder.replace("_", " "))
        for name in names:
            print(f"  {name:<{max(map(len, names))}}  {DESCRIPTIONS.get(name, '')}".rstrip())
    return 0


def _schema(kind: str, out: Path | None) -> int:
    from ..config_schema import dataset_config_schema, model_config_schema

    schema = model_config_schema() if kind == "model" else dataset_config_schema()
    _put(json.dumps(schema, indent=2) + "\n", out)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another folder") from None


def _take_model(config: dict[str, Any], weights: Path, model_config: Path | None) -> None:
    from ..host.finetuning import trainable, with_bottleneck_loss
    from ..host.opening import weights_source
    from ..weights import fit_checkpoint, is_foreign, read_checkpoint

    source = weights_source(weights, model_config)
    fitted = fit_checkpoint(read_checkpoint(source), source.builder)
    found, hop = fitted.config, fitted.config["model"]["downsampling_ratio"]
    size = max(1, round(config.get("sample_size", found.get("sample_size", 64 * hop)) / hop)) * hop
    channels = found.get("audio_channels") or found["model"]["io_channels"]
    config |= {"sample_rate": found["sample_rate"], "audio_channels": channels, "sample_size": size}
    holder, key = _place_of_autoencoder(config)
    foreign = is_foreign(found)
    model = _trained_as(holder.get(key), dict(found["model"]), recomputes=not foreign)
    holder[key] = trainable(model) if foreign and holder is config else model
    if foreign and holder is config and "loss_configs" in (training := config.get("training") or {}):
        config["training"] = {**training, "loss_configs": with_bottleneck_loss(training["loss_configs"], model)}
    if fitted.assumed:
        print(f"not in {weights} and assumed: {', '.join(fitted.assumed)}", file=sys.stderr)


def _place_of_autoencoder(config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The object that holds the autoencoder's config, and the key it has there."""
    model = config.get("model")
    if config.get("model_type") == "autoencoder":
        return config, "model"
    pretransform = model.get("pretransform") if isinstance(model, dict) else None
    if isinstance(pretransform, dict) and pretransform.get("type") == "autoencoder":
        return pretransform, "config"
    raise UserError("--model-from needs the config of an autoencoder, or of a model with one as its pretransform")


def _trained_as(base: Any, model: dict[str, Any], recomputes: bool) -> dict[str, Any]:
    """``model`` with what ``base`` says about training its parts, which no file of weights knows: what is frozen and,
    of parts that know it, what is recomputed."""
    for name, part in model.items():  # what was frozen when the weights were made is another matter
        if isinstance(part, dict):
            model[name] = {key: value for key, value in part.items() if key != "requires_grad"}
    for name, part in base.items() if isinstance(base, dict) else ():
        if not (isinstance(part, dict) and isinstance(model.get(name), dict)):
            continue
        if "requires_grad" in part:
            model[name] = {**model[name], "requires_grad": part["requires_grad"]}
        recomputed = (part.get("config") or {}).get("gradient_checkpointing")
        if recomputes and recomputed is not None:
            settings = {**model[name]["config"], "gradient_checkpointing": recomputed}
            model[name] = {**model[name], "config": settings}
    return model


def _show(value: Any) -> str:
    return "absent" if value is ABSENT else json.dumps(value)
