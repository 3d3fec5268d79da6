"""kill -9 and SIGTERM at random moments: what is there is whole, and the same command ends with the same results."""

from __future__ import annotations

import csv
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from faults_jobs import JOBS, Job, Sound, sound
from faults_material import Case, Material
from faults_outcome import HELD, LOST, SIGNAL, SILENT, TRACEBACK, Outcome, judge, lost_in

#: Of how many stops one is of a command with two processes; to start these takes seconds.
_EVERY = 8
_STARTING = 6.0


def cases(material: Material) -> list[Case]:
    """15 of each signal for each job."""
    found = []
    for job in JOBS:
        whole = sound(job, material, material.folder / f"sound-{job.name}")
        for number in (signal.SIGKILL, signal.SIGTERM):
            name = "kill -9" if number == signal.SIGKILL else number.name
            for turn in range(material.count(15)):
                two = job.processes and turn % _EVERY == _EVERY - 1
                label = f"{job.name}, {name}{', two processes' if two else ''}"
                found.append(Case(f"stops: {job.name}, {name}", label, _run(material, job, whole, number, two)))
    return found


def _run(
    material: Material, job: Job, whole: Sound, number: signal.Signals, two: bool
) -> Callable[[Path, random.Random], Outcome]:
    def run(folder: Path, rng: random.Random) -> Outcome:
        job.lay_out(material, folder)
        kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        moment = rng.uniform(0, whole.seconds + _STARTING * two)
        child = job.run(folder, [*job.command, "--processes", 2] if two else None)
        while moment > 0 and not child.poll():
            time.sleep(min(moment, 0.02))
            moment -= 0.02
        child.kill(number)
        stopped = child.wait()
        if "Traceback (most recent call last)" in stopped.text:
            return Outcome(TRACEBACK, f"when stopped: {stopped.text.strip()[-300:]}")
        if stopped.code not in (0, -number, 128 + number):
            return Outcome(SIGNAL, f"exit code {stopped.code} after {number.name}; {stopped.err[-300:]}")
        if lost := lost_in(folder, kept, leftovers=False):
            return Outcome(LOST, f"when stopped: {lost}")
        if number == signal.SIGTERM and job.name == "training" and (lost := _unsaved(folder)):
            return Outcome(LOST, lost)
        again = job.run(folder, job.again(folder)).wait()
        outcome = judge(again, folder, lambda: job.wrong(folder, whole), kept=kept, codes=(0,))
        if outcome.kind == HELD and again.code:
            return Outcome(SILENT, outcome.detail)
        return outcome

    return run


def _unsaved(folder: Path) -> str:
    """Rounds of a stopped training that its last checkpoint does not have."""
    import torch

    run = folder / "runs" / "run"
    if not (run / "metrics.csv").exists():
        return ""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        logged = max((int(row["step"]) for row in csv.DictReader(file)), default=0)
    last = run / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)["ear_sat"]["rounds"] if last.exists() else 0
    return "" if saved >= logged else f"{logged} rounds were logged, {saved} are in last.ckpt"
