"""ear-sat compare: trains the variants of a plan with several seeds, and shows on whole tracks which is better.

A plan is a JSON file with a base config, variants (what is set and unset in it, or a config of their own), seeds, a
length and music; ``ear-sat config --list`` names some. Every run is an ordinary run folder below ``--out``. The same
command goes on wherever it was stopped, and does nothing twice. Results go to report.html, results.md, results.csv (a
row per track) and results.json in a folder of the plan's name; plans with the same variants can share their runs in
one ``--out``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ..checks import number, path_argument, whole
from ..engines import ENGINES
from .clip_count import clip_count
from .named_folders import named_folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    from ..compare.run import DEVICES

    add = parser.add_argument
    add("plan", type=path_argument, metavar="PLAN", help="a name such as loss_forms, or a JSON file")
    add("--out", type=path_argument, required=True, metavar="DIR", help="folder for runs, results and the page")
    add("--size", metavar="NAME", help="one of the plan's sizes (default: the first)")
    add("--only", action="append", metavar="VARIANT", help="work on this variant; may be repeated (default: all)")
    add(
        "--confirm",
        action="append",
        default=[],
        metavar="VARIANT",
        help="measure this variant on the test tracks as well; may be repeated, and is for the end",
    )
    add("--dry-run", action="store_true", help="print the runs and how long they take, estimated from a few rounds")
    add("--audio", default="all", metavar="N|all|none", help="tracks to listen to on the page (default: all)")
    music = parser.add_argument_group("music, in place of the plan's")
    music.add_argument("--train", type=path_argument, metavar="CONFIG|DIR", help="dataset config, or a folder of music")
    music.add_argument(
        "--tracks",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a set of whole tracks to measure; that of the name test is only measured for --confirm",
    )
    length = parser.add_argument_group("settings, in place of the plan's")
    length.add_argument("--rounds", type=whole(1), help="length of every run")
    length.add_argument("--minutes", type=number(above=0), help="training time of every run")
    length.add_argument("--batch-size", type=whole(1), help="clips per batch")
    length.add_argument("--seeds", type=whole(0), nargs="+", metavar="SEED", help="one run of each variant for each")
    length.add_argument("--pretrained", type=path_argument, metavar="FILE", help="weights to start from")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--processes", type=whole(1), default=1, metavar="N", help="runs at a time (default: 1)")
    machine.add_argument("--engine", choices=ENGINES, default="local", help="this machine (default), or a Ray cluster")
    machine.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="to train and reconstruct on (default: a GPU where there is one)",
    )
    add("--seed", type=whole(0), default=0, help="of the bootstrap (default: 0)")


def main(arguments: argparse.Namespace) -> int:
    """Compares; 1 if any run failed."""
    from ..compare import compare, load_plan
    from ..compare.results import write_results

    clips = clip_count(arguments.audio, "tracks")
    plan = load_plan(
        arguments.plan,
        arguments.size,
        train=arguments.train,
        tracks=named_folders("--tracks", "set", arguments.tracks),
        overrides=_overrides(arguments),
    )
    if arguments.dry_run:
        return _dry_run(plan, arguments)
    comparison = compare(
        plan,
        arguments.out,
        only=arguments.only,
        confirm=arguments.confirm,
        processes=arguments.processes,
        engine=arguments.engine,
        device=arguments.device,
        seed=arguments.seed,
    )
    page = write_results(comparison, clips)
    for run, why in comparison.failures.items():
        print(f"failed: {run.name}: {why}; its output is in {run.log}")
    print(f"{len(comparison.runs)} run(s) finished, {len(comparison.failures)} failed; page: {page}")
    return 1 if comparison.failures else 0


def _dry_run(plan: Any, arguments: argparse.Namespace) -> int:
    from ..compare.estimate import estimate_seconds
    from ..compare.training import runs_of
    from ..report.tables import print_table

    runs = runs_of(plan, arguments.out, arguments.only)
    with tempfile.TemporaryDirectory(prefix="ear-sat-") as folder:
        seconds = {
            name: estimate_seconds(plan, plan.variant(name), Path(folder), arguments.device)
            for name in dict.fromkeys(run.variant for run in runs)
        }
    rows = [
        [run.name, "finished" if run.finished else "to be trained", f"{seconds[run.variant] / 60:.1f}"] for run in runs
    ]
    left = sum(seconds[run.variant] for run in runs if not run.finished) / arguments.processes
    note = f"about {left / 60:.0f} minutes of training are left, {arguments.processes} run(s) at a time"
    print_table(plan.title, ["run", "state", "minutes"], rows, notes=[note])
    return 0


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in ("rounds", "minutes", "batch_size", "seeds")}
    given["pretrained"] = None if arguments.pretrained is None else str(arguments.pretrained)
    found = {name: value for name, value in given.items() if value is not None}
    # A length that is given takes the place of the plan's, in whatever unit that is.
    if "rounds" in found or "minutes" in found:
        found = {"rounds": None, "minutes": None, **found}
    return found
