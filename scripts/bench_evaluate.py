"""Evaluates thousands of short generated pairs, with kills in between: throughput per core, memory, equal results.

    python scripts/bench_evaluate.py --out DIR [--pairs 2000] [--seconds 5] [--kills 2] [--rows FILE]
        [-- --processes 2 --engine ray]

The pairs are made below DIR/music once. What follows ``--`` goes to ``ear-sat evaluate``. The command is killed
(SIGKILL, with all its processes) when a third, two thirds, … of the pairs are measured, and started again. Compare two
runs with ``--rows results.csv`` of the other: every figure must be the same. One thread per process.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from ear_sat.checks import whole
from ear_sat.cli import errors
from ear_sat.errors import UserError
from ear_sat.report.tables import print_table

RATE = 44100
POLL_SECONDS = 5.0


@dataclass
class Course:
    """What was seen of the command while it ran."""

    wall: float = 0.0
    processor: float = 0.0
    measured: int = 0
    lost: int = 0
    #: (pairs measured, MB of the largest process that measures, MB of the process that shares out).
    memory: list[tuple[int, float, float]] = field(default_factory=list)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR")
    add("--pairs", type=whole(1), default=2000, help="(default: %(default)s)")
    add("--seconds", type=whole(1), default=5, help="of each (default: %(default)s)")
    add("--kills", type=whole(0), default=2, help="(default: %(default)s)")
    add("--name", default="evaluation", help="folder below DIR for the results (default: %(default)s)")
    add("--rows", type=Path, metavar="CSV", help="results.csv of another run, whose figures must be the same")
    add("options", nargs="*", metavar="OPTION", help="of ear-sat evaluate, after --")
    return parser


def make_pairs(folder: Path, count: int, seconds: int) -> None:
    """Chords with noise, and the same with an error of each pair's own."""
    time_axis = np.arange(seconds * RATE) / RATE
    for side in ("reference", "codec"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        names = [folder / side / f"{number:05d}.wav" for side in ("reference", "codec")]
        if all(name.exists() for name in names):
            continue
        rng = np.random.default_rng(number)
        tones = [0.1 * np.sin(2 * np.pi * f * time_axis + p) for f, p in rng.uniform(60, 6000, (4, 2))]
        music = np.stack([tones[0] + tones[1] + tones[3], tones[0] + tones[2] - tones[3]], 1)
        music += 0.02 * rng.standard_normal(music.shape)
        error = rng.uniform(0.001, 0.02) * rng.standard_normal(music.shape)
        soundfile.write(names[0], music, RATE)
        soundfile.write(names[1], music + error, RATE)


def measured_rows(out: Path) -> int:
    """Results in the log of a run."""
    return sum(line.startswith(b'{"key"') for file in out.glob("rows/*.jsonl") for line in file.open("rb"))


def tree(group: int) -> Iterator[tuple[int, float, float]]:
    """(id, MB, seconds of processor time) of each process of a session."""
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE") / 1e6
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(") ")
            fields = rest.split()
            if int(fields[3]) == group and "ray::IDLE" not in name:
                yield int(folder.name), int(fields[21]) * page, (int(fields[11]) + int(fields[12])) / ticks
        except (OSError, IndexError):
            continue


def watch(command: list[str], out: Path, until: int | None, course: Course) -> int | None:
    """Runs the command in a session of its own, until it ends or ``until`` pairs are measured; its exit status."""
    before = measured_rows(out)
    began = time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    seconds: dict[int, float] = {}
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        seen = list(tree(process.pid))
        seconds.update({number: spent for number, _, spent in seen})
        rows = measured_rows(out)
        others = [megabytes for number, megabytes, _ in seen if number != process.pid]
        own = next((megabytes for number, megabytes, _ in seen if number == process.pid), 0.0)
        course.memory.append((rows, max(others, default=own), own))
        if until is not None and rows >= until:
            os.killpg(process.pid, signal.SIGKILL)
            for number, _, _ in tree(process.pid):  # of Ray, those that have a group of their own
                os.kill(number, signal.SIGKILL)
    process.wait()
    course.wall += time.perf_counter() - began
    course.processor += sum(seconds.values())
    course.measured += measured_rows(out) - before
    return process.returncode


def values(path: Path) -> list[dict[str, str]]:
    """Rows of a results.csv without the paths."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("reference", "estimate")} for row in csv.DictReader(file)]


def main() -> int:
    args = get_parser().parse_args()
    if not Path("/proc/self/stat").exists():
        raise UserError("this script reads memory and time from /proc; run it on Linux")
    os.environ["OMP_NUM_THREADS"] = "1"
    music, out = args.out / "music", args.out / args.name
    make_pairs(music, args.pairs, args.seconds)
    command = [sys.executable, "-m", "ear_sat", "evaluate", "--reference", str(music / "reference")]
    command += ["--estimate", f"codec={music / 'codec'}", "--out", str(out), "--audio", "none", *args.options]
    course = Course()
    for kill in range(args.kills):
        until = args.pairs * (kill + 1) // (args.kills + 1)
        if watch(command, out, until, course) != -signal.SIGKILL:
            raise UserError("the command ended before it could be killed; see its messages above")
    if watch(command, out, None, course) != 0:
        raise UserError("the command failed; see its messages above")
    finished = values(out / "results.csv")
    bad = [row for row in finished if row["error"]]
    twice = measured_rows(out) - len(finished)
    early = [entry for entry in course.memory if 0.05 * args.pairs < entry[0] <= 0.2 * args.pairs]
    late = [entry for entry in course.memory if 0.9 * args.pairs < entry[0]]
    peaks = [[max((entry[i] for entry in part), default=0.0) for i in (1, 2)] for part in (early, late)]
    result = {
        "pairs": len(finished),
        "failed": len(bad),
        "measured twice because of kills": twice,
        "wall seconds": course.wall,
        "processor seconds": course.processor,
        "pairs per processor second": len(finished) / course.processor,
        "times real time per core": len(finished) * args.seconds / course.processor,
        "largest other process, first fifth, MB": peaks[0][0],
        "largest other process, last tenth, MB": peaks[1][0],
        "process that shares out, first fifth, MB": peaks[0][1],
        "process that shares out, last tenth, MB": peaks[1][1],
    }
    if args.rows is not None:
        result["rows that differ"] = sum(a != b for a, b in zip(finished, values(args.rows), strict=False))
    print_table(" ".join(["ear-sat evaluate", *args.options]), ["", ""], list(map(list, result.items())))
    (out / "bench.json").write_text(json.dumps(result | {"memory": course.memory}) + "\n", encoding="utf-8")
    return 1 if bad or result.get("rows that differ") else 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
