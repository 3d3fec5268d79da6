"""Jobs in several processes: torch threads shared out fairly, results as they come, no orphans."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Protocol, TypeVar

import torch

from .errors import UserError

T = TypeVar("T")

DEATH = (
    "a worker process died, most likely for want of memory; run the same command again with fewer --processes: what is "
    "finished is kept"
)
NO_START = (
    "worker processes end before they have done anything: most likely there is too little memory for them; in a script "
    'of your own, call this below `if __name__ == "__main__":`'
)
JOBS_PER_PROCESS = 4
"""Calls handed out at a time: no process waits for its next one, and few are in memory."""


class Runner(Protocol):
    """Makes calls somewhere else."""

    def __call__(
        self, function: Callable[..., T], jobs: Iterable[tuple], on_death: Callable[..., T] | None = None
    ) -> Iterator[tuple[int, T]]:
        """Yields (index of the call, its result) as calls finish.

        Args:
            function: of a module.
            jobs: the arguments of its calls, any number of them: they are taken as processes get free.
            on_death: gives the result of a call that killed its process, from the call's arguments. The calls that were
                under way when a process died are made again, to find out which one it was. Without it the death of a
                process is an error.

        Raises:
            UserError: a process died, or none can be started.
        """


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(processes: int) -> Iterator[Runner]:
    """A :class:`Runner` on ``processes`` processes, each with its share of the cores; 1 means this process.

    Processes start with the first call and end with the block, or when this process dies.

    >>> with workers(1) as run:
    ...     list(run(pow, [(2, 3), (2, 5)]))
    [(0, 8), (1, 32)]
    """
    if processes == 1:
        yield lambda function, jobs, on_death=None: ((index, function(*job)) for index, job in enumerate(jobs))
        return
    threads = max(1, cores() // processes)
    executor = _start(processes, threads)

    def run(
        function: Callable[..., T], jobs: Iterable[tuple], on_death: Callable[..., T] | None = None
    ) -> Iterator[tuple[int, T]]:
        nonlocal executor
        numbered = enumerate(jobs)
        waiting: dict[Future[T], tuple[int, tuple]] = {}
        suspects: list[tuple[int, tuple]] = []
        while True:
            if not suspects:
                for index, job in islice(numbered, JOBS_PER_PROCESS * processes - len(waiting)):
                    waiting[_submit(executor, function, job)] = (index, job)
            elif not waiting:
                executor.shutdown()
                executor = _start(processes, threads)
                assert on_death is not None  # else there are no suspects
                alone = _call_one_by_one(function, (job for _, job in suspects), threads, on_death)
                yield from ((index, result) for (index, _), result in zip(suspects, alone, strict=True))
                suspects = []
                continue
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                index, job = waiting.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    if on_death is None:
                        raise UserError(DEATH) from None
                    suspects.append((index, job))
                else:
                    yield index, result

    try:
        yield run
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start(processes: int, threads: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would copy torch's threads in an unknown state
        initializer=_start_worker,
        initargs=(threads,),
    )


def _submit(executor: ProcessPoolExecutor, function: Callable[..., T], job: tuple) -> Future[T]:
    try:
        return executor.submit(function, *job)
    except BrokenProcessPool as error:  # it broke since the last result
        failed: Future[T] = Future()
        failed.set_exception(error)
        return failed


def _call_one_by_one(
    function: Callable[..., T], jobs: Iterable[tuple], threads: int, on_death: Callable[..., T]
) -> Iterator[T]:
    """The results of calls in one process, and those of ``on_death`` for the ones that kill it."""
    executor = _start(1, threads)
    try:
        for job in jobs:
            try:
                _submit(executor, cores, ()).result()  # no call is to blame for a process that has died without one
            except BrokenProcessPool:
                executor.shutdown()
                executor = _start(1, threads)
                try:
                    executor.submit(cores).result()
                except BrokenProcessPool:
                    raise UserError(NO_START) from None
            try:
                yield executor.submit(function, *job).result()
            except BrokenProcessPool:
                yield on_death(*job)
    finally:
        executor.shutdown()


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all processes: end here without a traceback
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """Waits for the parent's death: a worker would otherwise wait for jobs for ever."""
    parent.join()
    os._exit(1)
