"""Time and memory of encoding and decoding over length and batch, from what bench.py has measured.

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
    alone = [point for point in points if point["batch"] == 1]
    length = min(point["audio_seconds"] for point in points if point["batch"] > 1)
    together = [point for point in points if point["audio_seconds"] == length]
    figure = style.new(4.6)
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for column, (chosen, key, label) in enumerate(
        (
            (alone, "audio_seconds", "length of the clip in seconds, batch 1"),
            (together, "batch", f"clips of {length:g} s in the batch"),
        )
    ):
        sizes = [point[key] for point in chosen]
        costs = [point["seconds"] / point["audio_seconds"] / point["batch"] for point in chosen]
        axes[0, column].plot(sizes, costs, marker="o", linewidth=2)
        needs = [point["peak_memory_mib"] / point["audio_seconds"] / point["batch"] for point in chosen]
        axes[1, column].plot(sizes, needs, marker="o", linewidth=2)
        axes[0, column].set(xscale="log", xticks=sizes, xticklabels=[f"{size:g}" for size in sizes])
        axes[1, column].set(xlabel=label)
        axes[1, column].minorticks_off()
    for row in axes:
        row[0].set_ylim(0, 1.1 * max(max(line.get_ydata()) for panel in row for line in panel.lines))
    axes[0, 0].set(ylabel="seconds per\nsecond of audio")
    axes[1, 0].set(ylabel="MiB per second\nof audio")
    style.save(figure, "speed")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: speed.py BENCH.json")
    main(sys.argv[1])
