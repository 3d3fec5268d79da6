"""ear-sat balance: how strongly each loss term of a config pulls, measured on real pairs of audio.

For each pair of reference and estimate it prints every term's value and the norm of its gradient at the decoder's
output (× √samples), weighted, and as a share of the sum. The adversarial terms are shown for a fresh discriminator and,
with --checkpoint, for a trained one, which then is the one in shares and total. Needs no training, and no host unless
the discriminator is one of the host's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..checks import number, path_argument
from ..config import choice_error
from ..errors import UserError
from ..named_configs import MODEL, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..losses import LossBundle
    from ..training.players import Discriminator

COLUMNS = ("term", "value", "weighted", "gradient of the weighted term", "share in %")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--model-config",
        type=path_argument,
        required=True,
        metavar="CONFIG",
        help="name or JSON file, with training.loss_configs",
    )
    parser.add_argument("--reference", type=path_argument, required=True, help="audio file, or folder of them")
    parser.add_argument(
        "--estimate", type=path_argument, required=True, help="its reconstruction, or folder with the same names"
    )
    parser.add_argument(
        "--checkpoint",
        type=path_argument,
        help="checkpoint of a training with this config, for its trained discriminator",
    )
    parser.add_argument(
        "--seconds", type=number(above=0), default=6.0, help="length of the excerpt from the middle (default: 6)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    import numpy as np

    from ..data import read_excerpt
    from ..losses import LossBundle
    from ..report.tables import print_table

    config = load_config(arguments.model_config, MODEL)
    losses = config.get("training", {}).get("loss_configs")
    if not losses:
        raise UserError(f"{arguments.model_config} has no training.loss_configs")
    bundle = LossBundle.from_config(losses, config["sample_rate"])
    channels = config.get("audio_channels", 2)
    entry = losses.get("discriminator")
    adversaries = _adversaries(entry, config["sample_rate"], channels, arguments.checkpoint)
    weights = {key: weight for key, weight in (entry or {}).get("weights", {}).items() if weight}
    totals: dict[str, list[list[float]]] = {}
    for reference, estimate in _pairs(arguments.reference, arguments.estimate):
        target, preds = (read_excerpt(path, channels, config["sample_rate"])[0] for path in (reference, estimate))
        length = min(target.shape[-1], preds.shape[-1])
        size = min(length, int(arguments.seconds * config["sample_rate"]))
        if size < 1:
            raise UserError(f"{reference} and {estimate} have no audio in common")
        start = (length - size) // 2
        target, preds = (x[:, start : start + size] for x in (target, preds))
        rows = _rows(bundle, adversaries, weights, preds, target)
        print_table(f"{estimate.name} against {reference.name}", COLUMNS, rows)
        for row in rows:
            totals.setdefault(row.term, []).append([row.value, row.gradient, row.percent])
    if len(totals["total"]) > 1:
        means = [[term, *np.mean(values, axis=0).tolist()] for term, values in totals.items()]
        print_table("Mean over pairs", ["term", "value", "gradient", "share in %"], means)
    return 0


class _Row(NamedTuple):
    term: str
    value: float
    weighted: float
    gradient: float
    percent: float


def _adversaries(
    entry: Mapping[str, Any] | None, sample_rate: int, channels: int, checkpoint: Path | None
) -> dict[str, Discriminator]:
    """Their states, "fresh" and "trained" → discriminators; none where the config has none."""
    import torch

    from .. import register
    from ..training.discriminators import create_discriminator, needs_host
    from ..weights import fit_strictly, read_checkpoint

    if entry is None:
        if checkpoint is not None:
            raise UserError("--checkpoint is read for its discriminator, but this config has none; drop the flag")
        return {}
    if needs_host(entry):
        register()
    torch.manual_seed(0)
    adversaries = {"fresh": create_discriminator(entry, sample_rate, channels)}
    if checkpoint is not None:
        stored = read_checkpoint(checkpoint).discriminator
        if not stored:
            raise UserError(f"{checkpoint} holds no discriminator; give a checkpoint of a training that has one")
        adversaries["trained"] = create_discriminator(entry, sample_rate, channels)
        fit_strictly(cast("nn.Module", adversaries["trained"]), stored, str(checkpoint), "the discriminator")
    return adversaries


def _rows(
    bundle: LossBundle,
    adversaries: Mapping[str, Discriminator],
    weights: Mapping[str, float],
    preds: Tensor,
    target: Tensor,
) -> list[_Row]:
    """Every term of a pair (channels, time); shares and total count the last adversary only."""
    from ..losses import gradient_norms
    from ..training.combined import members_of

    preds, target = preds[None].clone().requires_grad_(), target[None]
    output = bundle(preds, target)
    raw, weighted = dict(output.raw), dict(output.weighted)
    norms = gradient_norms(weighted, preds)
    pulls: dict[str, Tensor] = {}
    for state, adversary in adversaries.items():
        pulls = {}
        for member in members_of(adversary):
            loss: Any = member.discriminator.loss
            _, adversarial, matching = loss(reals=target, fakes=preds)
            values = {"adversarial": adversarial, "feature_matching": matching}
            own = {f"discriminator/{member.name}{key} ({state})": key for key in weights}
            raw |= {name: values[key] for name, key in own.items()}
            pulls |= {name: member.weight * weights[key] * values[key] for name, key in own.items()}
        weighted |= pulls
        norms |= gradient_norms(pulls, preds)
    counted = {*output.raw, *pulls}
    whole = sum(norms[name] for name in counted) or 1
    rows = [_Row(n, raw[n].item(), weighted[n].item(), norms[n], 100 * norms[n] / whole * (n in counted)) for n in raw]
    total = sum(pulls.values(), output.total)
    return [*rows, _Row("total", total.item(), total.item(), gradient_norms({"": total}, preds)[""], 100.0)]


def _pairs(reference: Path, estimate: Path) -> list[tuple[Path, Path]]:
    from ..data import find_audio_files

    if reference.is_file() and estimate.is_file():
        return [(reference, estimate)]
    if not (reference.is_dir() and estimate.is_dir()):
        raise UserError("--reference and --estimate must both be files or both be folders that exist")
    estimates = {Path(p).relative_to(estimate).with_suffix(""): Path(p) for p in find_audio_files(estimate)}
    references = {Path(p).relative_to(reference).with_suffix(""): Path(p) for p in find_audio_files(reference)}
    pairs = [(path, estimates[key]) for key, path in references.items() if key in estimates]
    if not pairs:
        first = next(iter(references), None)
        raise UserError(
            f"no file of {reference} has its namesake in {estimate}"
            if first is None
            else str(choice_error("estimate", first, map(str, estimates)))
        )
    return pairs
