"""The course of two trainings of one network, on a clip that neither sees: ours, and the host's for the same time.

python docs/figures/curves.py --ours runs/NAME --host runs/NAME
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import style

from ear_sat.json_file import load_json

#: What is drawn of our run: column of metrics.csv below held_out/ → label.
TERMS = {
    "magnitude/log": "log magnitude",
    "magnitude/convergence": "convergence",
    "correlation/correlation": "correlation, left and right",
    "side/correlation": "correlation, side",
}
#: The lowest SI-SDR that is drawn, in dB. A run begins near −50.
LOWEST = -10.0


def course(run: Path, name: str) -> tuple[list[int], list[float]]:
    """The rounds at which the held-out clip was measured, and one of its columns."""
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"held_out/{name}")]
    return [int(row["step"]) for row in rows], [float(row[f"held_out/{name}"]) for row in rows]


def main() -> None:
    """Draws and saves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ours", type=Path, required=True, help="run folder of make train")
    parser.add_argument("--host", type=Path, required=True, help="run folder of docs/figures/host_demo.json")
    arguments = parser.parse_args()
    figure = style.new(3.4)
    sound, terms = figure.subplots(1, 2)
    for run, label in ((arguments.ours, "ear_sat"), (arguments.host, "recipe of stable-audio-tools")):
        rounds, values = course(run, "si_sdr_db")
        sound.plot(rounds, values, label=label, linewidth=2)
    sound.set(xlabel="rounds, as many as the time allowed", ylabel="SI-SDR in dB", ylim=(LOWEST, None), xlim=(0, None))
    sound.legend(loc="lower right")
    for name, label in TERMS.items():
        rounds, values = course(arguments.ours, name)
        terms.plot(rounds, values, label=label, linewidth=2)
    begins = 0
    for phase in load_json(arguments.ours / "model_config.json")["training"]["phases"][:-1]:
        begins += phase["steps"]
        terms.axvline(begins, color=style.INK, linestyle=":", linewidth=1)
    terms.set(
        xlabel="rounds; the discriminator joins at the dots", ylabel="loss of ear_sat", ylim=(0, None), xlim=(0, None)
    )
    terms.legend(loc="upper right", fontsize=9)
    style.save(figure, "curves")


if __name__ == "__main__":
    main()
