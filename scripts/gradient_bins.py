"""How a K prefilter moves the gradient of the log magnitude between octaves, in its forms ``floor`` and ``adaptive``.

    python scripts/gradient_bins.py MUSIC… --out docs/figures/gradient_bins.png

The estimate of each excerpt is the excerpt with white noise 40 dB below it. Per octave: the level of the gradient's
spectrum at the estimate with the prefilter, less that without, in dB relative to the octave of 1 kHz; mean over the
files. |K| is what the prefilter does to a gradient that does not depend on the bins' levels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from gradient_noise import with_noise
from numpy.typing import NDArray
from torch import Tensor

from ear_sat.checks import number
from ear_sat.cli import errors
from ear_sat.data import read_excerpt
from ear_sat.losses import MagnitudeTerm
from ear_sat.losses.magnitude import LOG_FORMS
from ear_sat.report.figures import new_figure, save_figure
from ear_sat.report.tables import print_table
from ear_sat.weighting import k_gain

RATE = 44100
#: Centres of the octaves, Hz, and the one that the others are relative to.
OCTAVES = 1000.0 * 2.0 ** np.arange(-5, 5)
REFERENCE = 5
RECONSTRUCTION_DB = 40


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="MUSIC", help="audio files")
    parser.add_argument(
        "--start", type=number(at_least=0), default=30.0, help="of the excerpts, s (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=number(above=0), default=3.0, help="their length (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the figure to this PNG file")
    return parser


def octave_levels(signal: Tensor) -> NDArray[np.float64]:
    """dB of the signal in each octave."""
    power = torch.fft.rfft(signal.double()).abs().square().flatten(0, -2).sum(0)
    frequency = torch.fft.rfftfreq(signal.shape[-1], 1 / RATE)
    bands = [(frequency >= f * 2**-0.5) & (frequency < f * 2**0.5) for f in OCTAVES]
    return np.array([10 * power[band].sum().log10().item() for band in bands])


def moved(log_form: str, target: Tensor) -> NDArray[np.float64]:
    """dB by which the prefilter moves each octave of the gradient, relative to the octave of 1 kHz."""
    levels = {}
    for weighting in ("k", "none"):
        estimate = with_noise(target, RECONSTRUCTION_DB, seed=0).requires_grad_()
        value = MagnitudeTerm(RATE, weighting=weighting, log_form=log_form)(estimate, target)["log"]
        levels[weighting] = octave_levels(torch.autograd.grad(value, estimate)[0])
    change = levels["k"] - levels["none"]
    return change - change[REFERENCE]


def draw(rows: dict[str, NDArray[np.float64]], k: NDArray[np.float64], path: Path) -> None:
    """The octaves' levels of each form beside |K|."""
    figure = new_figure(4.5, layout="constrained")
    axes = figure.add_subplot()
    axes.semilogx(OCTAVES, k, "k--", label="|K|")
    for (form, levels), marker in zip(rows.items(), "so", strict=True):
        axes.semilogx(OCTAVES, levels, marker=marker, label=f'"log_form": "{form}"')
    axes.set_xticks(OCTAVES, [f"{f / 1000:g}k" if f >= 1000 else f"{f:.0f}" for f in OCTAVES], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("octave, Hz")
    axes.set_ylabel("gradient with prefilter / without, dB re 1 kHz")
    axes.set_title("What a K prefilter does to the gradient of the log magnitude")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def main() -> int:
    arguments = get_parser().parse_args()
    excerpts = [read_excerpt(path, 2, RATE, arguments.start, arguments.seconds)[0][None] for path in arguments.files]
    rows = {form: np.mean([moved(form, target) for target in excerpts], axis=0) for form in LOG_FORMS}
    k = 20 * np.log10(k_gain(OCTAVES, RATE))
    k -= k[REFERENCE]
    columns = ["octave, Hz", "|K|, dB", *(f"{form}, dB" for form in rows)]
    print_table(
        "Gradient with the prefilter / without, relative to 1 kHz",
        columns,
        list(zip(OCTAVES, k, *rows.values(), strict=True)),
    )
    if arguments.out is not None:
        draw(rows, k, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
