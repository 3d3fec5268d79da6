"""Times the measurement of tracks by ear-sat prepare-data, on one core.

    python scripts/bench_prepare.py [FILE…] [--track-seconds 240] [--repeats 5] [--json prepare.json]

Without files: a synthesised 44.1 kHz stereo track as flac. What counts is the processor time, user and system, of this
process: other processes on the machine disturb it less than the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import soundfile
from bench_data import SAMPLE_RATE, synthesise

from ear_sat.checks import whole
from ear_sat.cli import errors
from ear_sat.errors import UserError
from ear_sat.prepare import measure_track
from ear_sat.report.tables import print_table


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE")
    add("--track-seconds", type=whole(1), default=240, help="length of the synthesised track (default: %(default)s)")
    add("--repeats", type=whole(1), default=5, help="of each file (default: %(default)s)")
    add("--json", type=Path, help="write every sample to this file")
    return parser


def processor_seconds(path: Path, repeats: int) -> tuple[float, list[float]]:
    """Length of a track in seconds, and the processor time of each measurement; the one before them is left out."""
    row = measure_track(str(path))
    if row["error"] is not None:
        raise UserError(f"{path}: {row['error']}")
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        measure_track(str(path))
        times.append(time.process_time() - begin)
    return row["duration"], times


def main() -> int:
    args = get_parser().parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        files = args.files or [Path(folder, "synthesised.flac")]
        if not args.files:
            soundfile.write(files[0], synthesise(0, args.track_seconds), SAMPLE_RATE)
        for file in files:
            duration, times = processor_seconds(file, args.repeats)
            results[file.name] = {
                "track_seconds": duration,
                "processor_seconds": times,
                "median_times_real_time": duration / statistics.median(times),
                "fastest_times_real_time": duration / min(times),
            }
    rows = [
        [name, r["track_seconds"], statistics.median(r["processor_seconds"]), r["median_times_real_time"]]
        for name, r in results.items()
    ]
    print_table("measured on one core", ["", "track s", "processor s", "× real time"], rows)
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
