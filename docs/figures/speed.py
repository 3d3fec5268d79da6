"""Time of encoding and decoding over length and batch, from what bench.py has measured.

python scripts/bench.py --only curve --json bench.json && python docs/figures/speed.py bench.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import style


def main(path: str) -> None:
    """Draws and saves."""
    points = json.loads(Path(path).read_text(encoding="utf-8"))["curve"]["points"]
    figure = style.new(3.2)
    lengths, batches = figure.subplots(1, 2, sharey=True)
    alone = [point for point in points if point["batch"] == 1]
    length = min(point["audio_seconds"] for point in points if point["batch"] > 1)
    together = [point for point in points if point["audio_seconds"] == length]
    for axes, chosen, key, label in (
        (lengths, alone, "audio_seconds", "length of the clip in seconds, batch 1"),
        (batches, together, "batch", f"clips of {length:g} s in the batch"),
    ):
        costs = [point["seconds"] / point["audio_seconds"] / point["batch"] for point in chosen]
        axes.plot([point[key] for point in chosen], costs, marker="o", linewidth=2)
        axes.set(xlabel=label, ylim=(0, None))
    lengths.set(ylabel="seconds per second of audio", xscale="log")
    style.save(figure, "speed")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: speed.py BENCH.json")
    main(sys.argv[1])
