"""How much noise in the decoded audio, such as a precision's rounding, turns each loss term's gradient.

    python scripts/gradient_noise.py --reference original.wav --estimate reconstruction.wav
    python scripts/gradient_noise.py --synthesised

Prints the cosine between the gradient at the estimate and that at the estimate with white noise so many dB below it,
for each term of model_configs/ear_vae.json and for several floors of the log magnitude; then for the other forms that
the terms have; then, with the floor at −100 dBFS, for the bins of each level of the target. The estimates are the one
given and the reference with noise 40 dB below it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from gpu_setting import cosine
from torch import Tensor

from ear_sat.checks import number
from ear_sat.cli import errors
from ear_sat.data import read_excerpt, synthesise_track
from ear_sat.errors import UserError
from ear_sat.losses import STFT, LossBundle, Spectra, log_distance
from ear_sat.losses.magnitude import MagnitudeTerm
from ear_sat.losses.weighting import filtered
from ear_sat.named_configs import MODEL, load_config
from ear_sat.report.tables import print_table

#: SNR in dB of decoded audio against float32: bf16, bf16 with the decoder's last block in float32, TF32; and far less.
NOISES = (35, 47, 57, 90, 110)
FLOORS: dict[str, dict[str, Any]] = {
    "−100 dBFS": {"log_floor_db": -100},
    "−80 dBFS": {"log_floor_db": -80},
    "−60 dBFS": {"log_floor_db": -60},
    "−40 dB of the clip": {"log_floor_db": -40, "log_floor_reference": "clip"},
    "−20 dB of the clip": {"log_floor_db": -20, "log_floor_reference": "clip"},
}
#: The forms that the config does not have, each with its default settings.
FORMS: dict[str, dict[str, Any]] = {
    "adaptive": {"type": "ear_magnitude", "config": {"log_form": "adaptive"}, "weights": {"log": 1, "contrast": 1}},
    "complex": {"type": "ear_correlation", "weights": {"complex": 1}},
    "phasor": {"type": "ear_phase_derivative", "config": {"form": "phasor"}, "weights": {"if": 1, "gd": 1}},
}
#: Levels of the target's bins, dBFS.
LEVELS = ((-40, 0), (-60, -40), (-80, -60), (-100, -80))
Gradient = Callable[[Tensor], dict[str, Tensor]]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="audio file")
    parser.add_argument("--estimate", type=Path, help="its reconstruction")
    parser.add_argument("--synthesised", action="store_true", help="a synthesised track instead, full band")
    parser.add_argument(
        "--start", type=number(at_least=0), default=8.0, help="of the excerpt, s (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=number(above=0), default=3.0, help="its length (default: %(default)s)")
    parser.add_argument(
        "--model-config",
        default="ear_vae",
        help="name or JSON file, with training.loss_configs (default: %(default)s)",
    )
    return parser


def with_noise(x: Tensor, snr_db: float, seed: int) -> Tensor:
    """``x`` and white noise ``snr_db`` below it."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return x + noise * (x.norm() / noise.norm()) * 10 ** (-snr_db / 20)


def terms_of(bundle: LossBundle, target: Tensor) -> Gradient:
    """Gradient of each weighted term, and of their sum as "total"."""

    def gradients(estimate: Tensor) -> dict[str, Tensor]:
        preds = estimate.clone().requires_grad_()
        parts = bundle(preds, target).weighted
        found = {name: torch.autograd.grad(value, preds, retain_graph=True)[0] for name, value in parts.items()}
        return {**found, "total": torch.stack(list(found.values())).sum(0)}

    return gradients


def levels_of(term: MagnitudeTerm, target: Tensor) -> Gradient:
    """Gradient of the log magnitude of the bins whose target has each level, summed over resolutions."""

    def gradients(estimate: Tensor) -> dict[str, Tensor]:
        preds = estimate.clone().requires_grad_()
        sums = {f"{low} … {high}": preds.new_zeros(()) for low, high in LEVELS}
        x, y = (s if term.prefilter is None else filtered(s, term.prefilter) for s in (preds, target))
        for resolution in term.resolutions:
            stft = STFT(resolution)
            p, q = (Spectra(stft(s)).magnitude(term.components) for s in (x, y))
            for name, (low, high) in zip(sums, LEVELS, strict=True):
                here = ((q >= 10 ** (low / 20)) & (q < 10 ** (high / 20))).float()
                sums[name] = sums[name] + (log_distance(p, q.detach()) * here).mean()
        return {name: torch.autograd.grad(value, preds, retain_graph=True)[0] for name, value in sums.items()}

    return gradients


def rows_of(gradients: Gradient, estimate: Tensor) -> list[list[Any]]:
    """Name, gradient norm × √samples, and cosine at each noise, per gradient."""
    exact = gradients(estimate)
    noisy = [gradients(with_noise(estimate, snr, seed=1)) for snr in NOISES]
    scale = estimate.shape[-1] ** 0.5
    return [
        [name, float(gradient.norm()) * scale, *(cosine(gradient, one[name]) for one in noisy)]
        for name, gradient in exact.items()
    ]


def pair(arguments: argparse.Namespace) -> tuple[Tensor, dict[str, Tensor], int]:
    """Target, estimates by name, and rate."""
    if arguments.synthesised:
        rate = 44100
        track = synthesise_track(0, arguments.start + arguments.seconds, rate, seed=0)
        target = torch.from_numpy(track)[None, :, -round(arguments.seconds * rate) :].float()
        return target, {"noise 40 dB down": with_noise(target, 40, seed=0)}, rate
    if arguments.reference is None or arguments.estimate is None:
        raise UserError("give --reference and --estimate, or --synthesised")
    (target, rate), (estimate, other) = (
        read_excerpt(path, 2, None, arguments.start, arguments.seconds)
        for path in (arguments.reference, arguments.estimate)
    )
    target, estimate = target[None], estimate[None]
    if rate != other or target.shape != estimate.shape:
        raise UserError(f"{arguments.reference} and {arguments.estimate} differ in rate or length")
    return target, {arguments.estimate.name: estimate, "noise 40 dB down": with_noise(target, 40, seed=0)}, rate


def bundles(config: Mapping[str, Any], rate: int) -> dict[str, LossBundle]:
    """The config's losses for each of :data:`FLOORS`."""
    losses = config["training"]["loss_configs"]
    result = {}
    for name, floor in FLOORS.items():
        changed = {
            key: {**entry, "config": {**entry.get("config", {}), **floor}}
            if entry["type"] == "ear_magnitude"
            else entry
            for key, entry in losses.items()
        }
        result[name] = LossBundle.from_config(changed, rate)
    return result


def main() -> int:
    arguments = get_parser().parse_args()
    target, estimates, rate = pair(arguments)
    config = load_config(arguments.model_config, MODEL)
    for name, estimate in estimates.items():
        rows = []
        for floor, bundle in bundles(config, rate).items():
            found = rows_of(terms_of(bundle, target), estimate)
            rows += [[floor, *row] for row in found if not rows or row[0] in ("magnitude/log", "total")]
        columns = ["floor", "term", "gradient", *(f"cosine, {snr} dB" for snr in NOISES)]
        print_table(f"{name}: terms", columns, rows)
        forms = rows_of(terms_of(LossBundle.from_config(FORMS, rate), target), estimate)
        print_table(f"{name}: other forms", columns[1:], [row for row in forms if row[0] != "total"])
        terms = [e.module for e in bundle.entries.values() if isinstance(e.module, MagnitudeTerm)]
        if not terms:
            continue
        columns = ["level of the bins, dBFS", "gradient", *columns[3:]]
        print_table(f"{name}: log magnitude by level", columns, rows_of(levels_of(terms[0], target), estimate))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
