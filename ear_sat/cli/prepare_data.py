"""ear-sat prepare-data: measures music, decides what is fit for training, and writes manifest, configs and shards.

A second run measures only what has changed; one that was stopped, in whatever way, continues with the same command.
Bounds that are infinite are off: --min-loudness=-inf.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import path_argument
from ..engines import ENGINES
from ..errors import UserError

if TYPE_CHECKING:
    from ..prepare import Preparation, Rules, ShardSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=path_argument,
        metavar="SRC",
        help="folders, audio files, WebDataset shards (.tar), or lists of them: .txt or .m3u with a path per line, "
        ".csv, .parquet or .jsonl with a column path",
    )
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="DIR", help="folder for everything that is written"
    )
    _add_rules(parser)
    shards = parser.add_argument_group("WebDataset shards")
    shards.add_argument("--shards", action="store_true", help="write the fit tracks to tar shards as well, as FLAC")
    shards.add_argument(
        "--shard-rate",
        metavar="HZ|native",
        help="sample rate in the shards (default: 44100); native: each track's own, a half or a third of it where that "
        "is more than FLAC takes",
    )
    shards.add_argument(
        "--shard-size", type=int, metavar="MB", help="most of a shard, before FLAC compresses (default: 1000)"
    )
    work = parser.add_argument_group("how the work is done")
    work.add_argument("--engine", choices=ENGINES, default="local", help="ray: on a Ray cluster")
    work.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="default: one per core, at least 2; with 1 a file that crashes its decoder ends the run",
    )
    work.add_argument("--retry-errors", action="store_true", help="measure tracks again that had errors")


def _add_rules(parser: argparse.ArgumentParser) -> None:
    stage1 = parser.add_argument_group("stage 1", "the defaults are the paper's, --require-stereo is ours")
    add = stage1.add_argument
    add("--min-sample-rate", type=float, default=44100, metavar="HZ", help="least native rate (default: 44100)")
    add("--min-loudness", type=float, default=-22, metavar="LUFS", help="least integrated loudness (default: -22)")
    add("--max-loudness", type=float, default=-5, metavar="LUFS", help="greatest integrated loudness (default: -5)")
    add(
        "--require-stereo",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="exactly two channels (default: yes)",
    )
    add("--min-seconds", type=float, default=0, metavar="S", help="least length (default: none)")
    add("--no-dual-mono", action="store_true", help="refuse stereo files with twice the same channel")
    add("--min-bandwidth", type=float, default=0, metavar="HZ", help="least highest frequency with content (none)")
    add("--no-duplicates", action="store_true", help="of files with the same bytes, keep the first by path only")
    stage2 = parser.add_argument_group("stage 2, for the continued training")
    stage2.add_argument(
        "--max-true-peak", type=float, default=1, metavar="DBTP", help="true peak must be below this (default: 1)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Prepares and prints what came of it."""
    from ..files import disk_errors
    from ..prepare.run import prepare_data
    from ..prepare.summary import save_distributions, summary_tables, write_summary
    from ..report.tables import print_table

    rules, out = _rules(arguments), arguments.out
    result = prepare_data(
        arguments.sources,
        out,
        rules,
        shards=_shard_settings(arguments),
        engine=arguments.engine,
        processes=arguments.processes,
        retry_errors=arguments.retry_errors,
    )
    with disk_errors(out):
        write_summary(out / "summary.md", result.statistics)
        save_distributions(out / "histograms.png", result.statistics, rules)
    for table in summary_tables(result.statistics):
        print_table(*table)
    for line in _lines(result, out):
        print(line)
    return 0


def _rules(arguments: argparse.Namespace) -> Rules:
    from dataclasses import fields

    from ..prepare import Rules

    return Rules(**{field.name: getattr(arguments, field.name) for field in fields(Rules)})


def _shard_settings(arguments: argparse.Namespace) -> ShardSettings | None:
    from ..prepare import ShardSettings

    rate, size, defaults = arguments.shard_rate, arguments.shard_size, ShardSettings()
    if not arguments.shards:
        if rate is not None or size is not None:
            raise UserError("--shard-rate and --shard-size say how shards are written; add --shards, or leave them out")
        return None
    if rate not in (None, "native") and not rate.isdecimal():
        raise UserError(f"--shard-rate takes a rate in Hz or native, not {rate}")
    return ShardSettings(
        defaults.sample_rate if rate is None else None if rate == "native" else int(rate),
        defaults.megabytes if size is None else size,
    )


def _lines(result: Preparation, out: Path) -> list[str]:
    total = result.statistics.total.tracks
    lines = [f"{result.measured} track(s) measured now, {total - result.measured} known from earlier runs"]
    if result.shards:
        lines.append(f"{result.shards} shard(s) in {out / 'shards'}, {result.shards_written} of them written now")
    lines += [f"note: {note}" for note in result.notes]
    lines.append(f"manifest: {out / 'manifest.parquet'}, manifest.csv; summary.md, histograms.png")
    return lines + [f"dataset config: {path}" for path in result.configs]
