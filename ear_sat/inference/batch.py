"""Reconstructs many files: a progress bar, no work twice, and a bad file does not stop the others."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from ..data import UnusableFileError
from ..data.finding import printable
from ..data.stream import reason_of
from ..errors import UserError
from ..files import FULL, stale_files, temporary_path
from ..models import Autoencoder
from ..processes import Runner, workers
from ..report.tables import print_table
from .files import FileJob
from .model import ModelFile
from .settings import Settings
from .source import read_header
from .streaming import Result, reconstruct_file

MAX_ROWS = 100
"""Of the table that is printed."""


def reconstruct_files(
    model: Autoencoder | ModelFile,
    jobs: Sequence[FileJob],
    settings: Settings,
    *,
    force: bool = False,
    progress: bool | None = None,
    run: Runner | None = None,
    keep: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Reconstructs each job's file.

    Args:
        model: the autoencoder, in eval mode; with ``run`` where it can be opened.
        jobs: from :func:`ear_sat.inference.plan_jobs`.
        settings: the choices.
        force: do files again whose output exists. Outputs are written atomically: what exists is complete.
        progress: show a bar over seconds of audio on standard error; None: on a terminal only.
        run: makes the calls, in several processes; None: this one, in order.
        keep: called with what became of a file, as soon as that is known.

    Returns:
        what became of each job. A failure is printed to standard error as it happens, and the next file goes on.

    Raises:
        UserError: the disk is full.
    """
    waiting = [job for job in jobs if force or not job.output.exists()]
    seconds = {job: _seconds(job) for job in waiting}
    results = {job: Result(job, "skipped") for job in jobs}
    remaining = sum(seconds.values())
    disabled = None if progress is None else not progress
    with tqdm(bar_format=_BAR, disable=disabled, file=sys.stderr) as bar, workers(1) as here:
        meter = _Meter(bar, remaining)

        def calls() -> Iterator[tuple[Autoencoder | ModelFile, FileJob, Settings, _Meter | None]]:
            for number, job in enumerate(waiting, start=1):
                bar.set_description_str(f"file {number} of {len(waiting)}")
                yield model, job, settings, meter if run is None else None

        for index, result in (run or here)(_attempt, calls(), _died):
            job = waiting[index]
            results[job] = result
            if keep is not None:
                keep(result)
            if run is not None:
                meter(result.seconds)
            remaining -= seconds[job]
            # It failed early, its header was wrong, or ffmpeg read it and its length was not known before.
            meter.total = meter.done + remaining
            if result.outcome == "failed":
                bar.write(f"{printable(job.source)}: {result.notes[0]}", file=sys.stderr)
    return [results[job] for job in jobs]


def summarize(results: Sequence[Result]) -> bool:
    """Prints a table of the files that were worked on, and how many were not; returns whether none failed."""
    rows: list[list[Any]] = []
    for result in results:
        done = result.outcome == "done"
        numbers = [result.seconds, result.seconds / max(result.elapsed, 1e-9), result.peak_db] if done else [None] * 3
        if result.outcome != "skipped":
            rows.append([result.job.name, result.outcome, *numbers, "; ".join(result.notes)])
    columns = ("file", "outcome", "seconds", "× real time", "peak dBFS", "notes")
    counts = Counter(result.outcome for result in results)
    note = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("done", "skipped", "failed"))
    hint = "; --force does what is there again" if counts["skipped"] else ""
    if len(rows) > MAX_ROWS:
        rows.sort(key=lambda row: row[1] == "done")  # what failed must not be cut off
        note += f"; {len(rows) - MAX_ROWS} more row(s): --table FILE.csv writes all"
    print_table("Reconstruction", columns, rows[:MAX_ROWS], [note + hint])
    return not counts["failed"]


_BAR = "{desc}: {percentage:3.0f} %|{bar}| {n_fmt} of {total_fmt} s [{elapsed}, {remaining} left{postfix}]"


class _Meter:
    """Moves the bar over whole seconds of audio and shows the real-time factor so far."""

    def __init__(self, bar: Any, total: float) -> None:
        self._bar, self._begin, self.done, self.total = bar, time.monotonic(), 0.0, total

    def __call__(self, seconds: float) -> None:
        self.done += seconds
        elapsed = max(1e-9, time.monotonic() - self._begin)
        self._bar.total = round(self.total)
        self._bar.set_postfix_str(f"{self.done / elapsed:.3g} × real time", refresh=False)
        self._bar.update(int(self.done) - self._bar.n)


def _seconds(job: FileJob) -> float:
    """The length that the header gives; 0 where it cannot be read, which is looked into when it is the file's turn."""
    try:
        header = read_header(job.source)
    except UnusableFileError:
        return 0.0
    return header.frames / header.sample_rate


def _remove_remnants(job: FileJob) -> None:
    """Removes what a killed run has left of this output; not of others, which another process may be writing now."""
    for file in stale_files(job.output.parent):
        if file.name.rsplit(".", 2)[0] == temporary_path(job.output).name.rsplit(".", 2)[0]:  # of any process
            file.unlink(missing_ok=True)


def _attempt(model: Autoencoder | ModelFile, job: FileJob, settings: Settings, meter: _Meter | None) -> Result:
    if isinstance(model, ModelFile):
        model = model.open()
    _remove_remnants(job)
    try:
        return reconstruct_file(model, job, settings, meter or (lambda _: None))
    except (UnusableFileError, FloatingPointError) as error:
        return Result(job, "failed", notes=[str(error)])
    except (torch.OutOfMemoryError, MemoryError):
        return Result(job, "failed", notes=["out of memory; give a smaller --chunk-seconds or --batch-size"])
    except OSError as error:
        if error.errno in FULL:  # the next file would fail as well, after all its work
            raise UserError(
                f"cannot write {printable(job.output)}: {reason_of(error)}; what is finished is kept: free some space "
                "or choose another --out, and run the same command again"
            ) from error
        return Result(job, "failed", notes=[f"cannot write {printable(job.output)}: {reason_of(error)}"])
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "allocate memory" not in str(error):
            raise
        return Result(job, "failed", notes=["out of memory; give a smaller --chunk-seconds or --batch-size"])


def _died(_model: object, job: FileJob, *_: object) -> Result:
    reason = "the process that worked on it died, most likely for want of memory; give a smaller --chunk-seconds"
    return Result(job, "failed", notes=[reason])
