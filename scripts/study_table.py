"""Joins results.csv files of comparisons that were run apart, and prints one table in Markdown.

    python scripts/study_table.py docs/study/*/results*.csv --base base [--tracks development] [--variants NAME …]

Each file is one that ``ear-sat compare`` wrote: seeds or variants of one study, trained with the same music and
length. Means are over tracks and seeds, intervals of 95 % as in the comparison's own page.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from ear_sat.cli import errors
from ear_sat.compare.statistics import summarise
from ear_sat.compare.tables import format_difference, format_interval
from ear_sat.errors import UserError
from ear_sat.metrics import METRICS

SHOWN = [METRICS[name] for name in ("si_sdr_db", "stft_distance", "mel_distance", "icpc", "ccpc")]
#: variant → seed → track → row of the file.
Results = dict[str, dict[int, dict[str, dict[str, str]]]]


def read(paths: list[Path], tracks: str) -> Results:
    """What the files say of one set of tracks; a run that stands in two of them counts once."""
    results: Results = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["tracks"] == tracks and not row["error"]:
                    results.setdefault(row["variant"], {}).setdefault(int(row["seed"]), {})[row["track"]] = row
    if not results:
        raise UserError(f"no row of the files is of the tracks {tracks}; give --tracks with a name that they have")
    return results


def table(results: Results, base: str, variants: list[str]) -> list[str]:
    """Lines of the table."""
    summaries, si_sdr = {}, METRICS["si_sdr_db"]
    for metric in SHOWN:
        values = {
            variant: {
                seed: {track: float(row[metric.name] or "nan") for track, row in by_track.items()}
                for seed, by_track in by_seed.items()
            }
            for variant, by_seed in results.items()
        }
        summaries[metric.name] = summarise(values, base)
    headings = ["variant", "tracks × seeds", *(metric.name for metric in SHOWN), f"SI-SDR to {base}, 95 %", "above"]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for variant in variants:
        rows = {metric.name: summaries[metric.name][variant] for metric in SHOWN}
        row = rows["si_sdr_db"]
        lead = ("", "")
        if row.difference is not None:
            shown = format_difference(si_sdr, row.difference), format_interval(si_sdr, row.difference)
            lead = " ".join(shown), f"{row.above}/{row.pairs}"
        cells = [variant, f"{row.tracks} × {row.seeds}", *(f"{rows[m.name].value.mean:.3f}" for m in SHOWN)]
        lines.append("| " + " | ".join([*cells, *lead]) + " |")
    return lines


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="results.csv")
    parser.add_argument("--base", required=True, help="the variant to which the differences are taken")
    parser.add_argument("--tracks", default="development", help="the set of tracks (default: development)")
    parser.add_argument("--variants", nargs="+", help="rows to print (default: all)")
    arguments = parser.parse_args()
    results = read(arguments.files, arguments.tracks)
    variants = arguments.variants or list(results)
    for name in [arguments.base, *variants]:
        if name not in results:
            raise UserError(f"the files have no variant {name}; they have {', '.join(results)}")
    print("\n".join(table(results, arguments.base, variants)))


if __name__ == "__main__":
    sys.exit(errors.run(main))
