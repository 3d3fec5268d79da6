"""Jobs in several processes: torch threads shared out fairly, results as they come, no orphans."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import torch

from ..errors import UserError

T = TypeVar("T")

Runner = Callable[[Callable[..., T], Sequence[tuple]], Iterator[tuple[int, T]]]
"""Takes a module-level function and the arguments of its calls; yields (index of the call, result) as they finish."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(processes: int) -> Iterator[Runner]:
    """A :data:`Runner` on ``processes`` processes, each with its share of the cores; 1 means this process.

    Processes start with the first call and end with the block, or when this process dies.

    >>> with workers(1) as run:
    ...     list(run(pow, [(2, 3), (2, 5)]))
    [(0, 8), (1, 32)]
    """
    if processes == 1:
        yield lambda function, jobs: ((index, function(*job)) for index, job in enumerate(jobs))
        return
    executor = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would copy torch's threads in an unknown state
        initializer=_start_worker,
        initargs=(max(1, cores() // processes),),
    )

    def run(function: Callable[..., T], jobs: Sequence[tuple]) -> Iterator[tuple[int, T]]:
        futures: dict[Future[T], int] = {executor.submit(function, *job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process died, most likely for want of memory; run the same command again with fewer "
                "--processes: what is finished is kept"
            ) from None

    try:
        yield run
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


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
