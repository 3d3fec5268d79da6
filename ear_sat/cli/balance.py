"""ear-sat balance: how strongly each loss term of a config pulls, measured on real pairs of audio.

For each pair of reference and estimate it prints every term's value and the norm of its gradient at the decoder's
output (× √samples), weighted, and as a share of the sum. Needs no training and no host.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import choice_error, load_json
from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = ("term", "value", "weighted", "gradient of the weighted term", "share")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--model-config", type=Path, required=True, help="JSON with training.loss_configs")
    parser.add_argument("--reference", type=Path, required=True, help="audio file, or folder of them")
    parser.add_argument(
        "--estimate", type=Path, required=True, help="its reconstruction, or folder with the same names"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the excerpt from the middle (default: 6)")


def main(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    import numpy as np

    from ..losses import LossBundle, gradient_norms
    from ..report.tables import print_table

    config = load_json(arguments.model_config)
    losses = config.get("training", {}).get("loss_configs")
    if not losses:
        raise UserError(f"{arguments.model_config} has no training.loss_configs")
    bundle = LossBundle.from_config(losses, config["sample_rate"])
    channels = config.get("audio_channels", 2)
    totals: dict[str, list[tuple[float, float]]] = {}
    for reference, estimate in _pairs(arguments.reference, arguments.estimate):
        target, preds = (_read(path, config["sample_rate"], channels) for path in (reference, estimate))
        length = min(target.shape[-1], preds.shape[-1])
        size = min(length, int(arguments.seconds * config["sample_rate"]))
        if size < 1:
            raise UserError(f"{reference} and {estimate} have no audio in common")
        start = (length - size) // 2
        target, preds = (x[None, :, start : start + size] for x in (target, preds))
        preds = preds.clone().requires_grad_()
        output = bundle(preds, target)
        norms = gradient_norms(output.weighted, preds)
        rows: list[list[Any]] = []
        for key, value in output.raw.items():
            rows.append(
                [key, value.item(), output.weighted[key].item(), norms[key], norms[key] / (sum(norms.values()) or 1)]
            )
            totals.setdefault(key, []).append((value.item(), norms[key]))
        rows.append(["total", "", output.total.item(), gradient_norms({"total": output.total}, preds)["total"], ""])
        print_table(f"{estimate.name} against {reference.name}", COLUMNS, rows)
    if len(next(iter(totals.values()), [])) > 1:
        means = {key: np.mean(values, axis=0) for key, values in totals.items()}
        whole = sum(mean[1] for mean in means.values()) or 1
        rows = [[key, mean[0], mean[1], mean[1] / whole] for key, mean in means.items()]
        print_table("Mean over pairs", ["term", "value", "gradient", "share"], rows)
    return 0


def _read(path: Path, sample_rate: int, channels: int) -> Tensor:
    import numpy as np
    import soundfile
    import soxr
    import torch

    from ..data.reading import with_length

    try:
        audio, rate = soundfile.read(with_length(str(path)), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}; give a wav, flac, mp3 or ogg file") from None
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate)
    audio = audio.mean(axis=1, keepdims=True) if channels == 1 else audio[:, [0, min(1, audio.shape[1] - 1)]]
    return torch.from_numpy(np.ascontiguousarray(audio.T))


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
