"""A disk that fills up: one sentence, what was there stays whole, and with space the same command ends well.

The disk is a small tmpfs where this process may mount one; elsewhere files may not grow beyond a limit.
"""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults_jobs import JOBS, Job, Sound, sound
from faults_material import Case, Material
from faults_outcome import HELD, LOST, SILENT, Outcome, judge, lost_in
from faults_process import Child, ear_sat

#: Of a tmpfs.
_PAGE = 4096
_ROOM = "1g"


def cases(material: Material) -> list[Case]:
    """10 of them: jobs in turn, each with a disk for another share of what it writes."""
    found = []
    whole: dict[str, Sound] = {}
    for turn in range(material.count(10)):
        job = JOBS[turn % len(JOBS)]
        if job.name not in whole:
            whole[job.name] = sound(job, material, material.folder / f"disk-{job.name}")
        found.append(Case("full disks", job.name, _run(material, job, whole[job.name])))
    return found


def _run(material: Material, job: Job, whole: Sound) -> Callable[[Path, random.Random], Outcome]:
    def run(folder: Path, rng: random.Random) -> Outcome:
        share = rng.uniform(0.02, 0.95)
        disk = folder / "disk"
        disk.mkdir()
        with _disk(disk) as give_room:
            job.lay_out(material, disk)
            kept = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
            limit = give_room(int(share * whole.bytes), int(share * whole.largest))
            full = Child(_limited(job.command, limit), disk).wait()
            outcome = judge(full, disk, lambda: job.wrong(disk, whole), kept=kept)
            if outcome.kind != HELD:
                return Outcome(outcome.kind, f"{share:.0%} of its space: {outcome.detail}")
            if lost := lost_in(disk, kept):
                return Outcome(LOST, lost)
            give_room(0, 0)
            again = job.run(disk, job.again(disk)).wait()
            after = judge(again, disk, lambda: job.wrong(disk, whole), kept=kept)
            if after.kind != HELD or again.code:
                kind = after.kind if after.kind != HELD else SILENT
                return Outcome(kind, f"with space again: {after.detail}; before: {outcome.detail}")
            return outcome

    return run


def _limited(words: list[Any], limit: int | None) -> Callable[[], int]:
    def work() -> int:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return ear_sat(*words)()

    return work


@contextmanager
def _disk(folder: Path) -> Iterator[Callable[[int, int], int | None]]:
    """Makes ``folder`` a disk; gives a function that leaves it so many bytes beside those in use, 0 for plenty.

    That function takes these bytes and those of the largest file allowed where no disk can be mounted; it returns the
    latter, or None.
    """
    mounted = _mount("-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(folder))

    def give_room(left: int, largest: int) -> int | None:
        if not mounted:
            return max(largest, 1) if left else None
        size = f"{shutil.disk_usage(folder).used // _PAGE * _PAGE + max(left, _PAGE)}" if left else _ROOM
        if not _mount("-o", f"remount,size={size}", str(folder)):
            raise RuntimeError(f"{folder} cannot be remounted with {size}")
        return None

    try:
        yield give_room
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=True)


def _mount(*words: str) -> bool:
    return shutil.which("mount") is not None and not subprocess.run(["mount", *words], capture_output=True).returncode
