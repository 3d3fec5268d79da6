"""Injects faults into the commands, hundreds of them, and tells what became of each.

    python scripts/faults.py [--scale 1] [--seed 0] [--only audio,stops] [--out faults.json] [--table faults.md]

training: batches that are not finite, the death of one of two ranks, memory over 10,000 rounds. stops: kill -9 and
SIGTERM at random moments, and the same command again. disk: one that fills up. configs: mutated model and dataset
configs. audio: damaged files in every command. checkpoints: damaged and hostile ones.

A fault is held if the command works in spite of it, or ends with one sentence, exit code 1 and nothing half-written.
What a case does follows from the seed and its number, but for the moment of a stop, which the machine's speed shifts.
Needs Linux; 2 cores do the whole campaign in at most 40 minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from faults_material import Case, write_material
from faults_outcome import HELD, KINDS, UNCLEAR, Outcome
from faults_process import ENVIRONMENT, Child, warm_up

#: In this order; each is a module with ``cases(material)``.
PARTS = ("training", "stops", "disk", "configs", "audio", "checkpoints")
#: Of a case, which has limits of its own for the commands in it.
_PATIENCE = 3600.0
#: After how many cases a line is printed.
_TOLD = 100


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", default=",".join(PARTS), metavar="PARTS", help="by comma (default: %(default)s)")
    add("--scale", type=float, default=1.0, help="times as many faults of each kind (default: 1)")
    add("--seed", type=int, default=0, help="default: 0")
    add("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    add("--out", type=Path, metavar="FILE", help="write every outcome to this JSON file")
    add("--table", type=Path, metavar="FILE", help="write the table to this Markdown file")
    add(
        "--again",
        type=Path,
        metavar="FILE",
        help="go on from this file of --out: do what it lacks or what was not held, with its seed and scale",
    )
    add("--keep", type=Path, metavar="DIR", help="keep the folders of what was not held there")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the campaign; 1 if any fault was not held."""
    parser = get_parser()
    arguments = parser.parse_args(argv)
    parts = arguments.only.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part is called {unknown[0]}; there are {', '.join(PARTS)}")
    if arguments.scale <= 0 or arguments.jobs < 1:
        parser.error("--scale and --jobs must be above 0")
    os.environ.update(ENVIRONMENT)
    warm_up()
    began = time.monotonic()
    print(f"seed {arguments.seed}, scale {arguments.scale:g}, {arguments.jobs} at a time", flush=True)
    earlier = {} if arguments.again is None else _earlier(arguments.again)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        (place := Path(folder, "material")).mkdir()
        material = write_material(place, arguments.scale, arguments.seed)
        cases = []
        for part in parts:  # numbers of their own, so that a case is the same with and without the other parts
            cases += enumerate(importlib.import_module(f"faults_{part}").cases(material))
        waiting = [one for one in cases if earlier.get(_key(*one), {}).get("kind") != HELD]
        for result in _run_all(waiting, Path(folder), arguments.seed, arguments.jobs, arguments.keep):
            earlier[result["row"], result["name"], result["number"]] = result
            if arguments.out is not None:
                arguments.out.write_text(json.dumps(list(earlier.values()), indent=1), encoding="utf-8")
    results = [earlier[_key(*one)] for one in cases]
    table = markdown(results)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{table}\n{len(results)} faults in {minutes:.1f} minutes, seed {arguments.seed}")
    if arguments.table is not None:
        arguments.table.write_text(table, encoding="utf-8")
    return int(any(result["kind"] != HELD for result in results))


def _run_all(
    cases: list[tuple[int, Case]], folder: Path, seed: int, at_once: int, keep: Path | None
) -> Iterator[dict[str, Any]]:
    """Runs each case in a process of its own; yields row, name, number, kind, detail and seconds as they end."""
    waiting = deque(range(len(cases)))
    busy: dict[int, Child] = {}
    done = 0
    while waiting or busy:
        while waiting and len(busy) < at_once:
            index = waiting.popleft()
            number, case = cases[index]
            (place := folder / f"{index:04d}").mkdir()
            busy[index] = Child(partial(_run_case, case, place, seed, number), place)
        for index in [index for index, child in busy.items() if child.poll(_PATIENCE)]:
            number, case = cases[index]
            result = _result(busy.pop(index), case, number)
            place = folder / f"{index:04d}"
            if result["kind"] != HELD:
                print("{kind}: {row}: {name} (number {number}): {detail}".format(**result), flush=True)
                if keep is not None:
                    shutil.copytree(place, keep / f"{case.row.replace(' ', '-')}-{number}", dirs_exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            done += 1
            if done % _TOLD == 0:
                print(f"{done} of {len(cases)} done", flush=True)
            yield result
        time.sleep(0.01)


def _key(number: int, case: Case) -> tuple[str, str, int]:
    return case.row, case.name, number


def _earlier(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    results = json.loads(path.read_text(encoding="utf-8"))
    return {(result["row"], result["name"], result["number"]): result for result in results}


def _run_case(case: Case, place: Path, seed: int, number: int) -> int:
    """In a child: prints the outcome as JSON."""
    outcome = case.run(place, random.Random(f"{seed} {case.row} {case.name} {number}"))
    sys.stdout.write("\n" + json.dumps(outcome))
    return 0


def _result(child: Child, case: Case, number: int) -> dict[str, Any]:
    done = child.wait()
    if done.code == 0:
        outcome = Outcome(*json.loads(done.out.splitlines()[-1]))
    else:
        outcome = Outcome(UNCLEAR, done.err.strip()[-1000:])
    named = {"row": case.row, "name": case.name, "number": number}
    return {**named, **outcome._asdict(), "seconds": round(done.seconds, 2)}


def markdown(results: list[dict[str, Any]]) -> str:
    """A row for each kind of fault, and how many of them came to what."""
    columns = ["fault", "injected", *KINDS]
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    rows = list(dict.fromkeys(result["row"] for result in results))
    for name, chosen in [*((row, {row}) for row in rows), ("**all**", set(rows))]:
        counts = Counter(result["kind"] for result in results if result["row"] in chosen)
        cells = [name, counts.total(), *(counts[kind] for kind in KINDS)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
