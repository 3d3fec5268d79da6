"""Calls in several processes: torch threads shared out fairly, results as they come, no orphans."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol, TypeVar

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


class Runner(Protocol):
    """Makes calls somewhere else."""

    def __call__(
        self, function: Callable[..., T], jobs: Iterable[tuple], on_death: Callable[..., T] | None = None
    ) -> Iterator[tuple[int, T]]:
        """Yields (index of the call, its result) as calls finish.

        Args:
            function: of a module. In processes of this machine it may be a generator, whose values come one by one.
            jobs: the arguments of its calls, any number of them: they are taken as processes get free.
            on_death: gives the result of a call that killed its process, from the call's arguments. A call whose
                process died is made again after all others, alone, to find out whether it was that call. Without it the
                death of a process is an error.

        Raises:
            UserError: a process died, or none can be started.
            Exception: what a call raised; all processes that are at work are ended.
        """


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_number = 0


def worker_number() -> int:
    """Which of the processes of :func:`workers` this is, from 0; they deal GPUs out by it. 0 in any other process."""
    return _number


@contextmanager
def workers(processes: int) -> Iterator[Runner]:
    """A :class:`Runner` on ``processes`` processes, each with its share of torch's threads; 1 means this process.

    Processes start with the first call and end with the block, or when this process dies, however that ends.

    >>> with workers(1) as run:
    ...     list(run(pow, [(2, 3), (2, 5)]))
    [(0, 8), (1, 32)]
    """
    if processes == 1:
        yield _in_this_process
        return
    team = _Team(max(1, torch.get_num_threads() // processes))

    def run(
        function: Callable[..., T], jobs: Iterable[tuple], on_death: Callable[..., T] | None = None
    ) -> Iterator[tuple[int, T]]:
        lost: list[_Call] = []
        for call, died, value in team.make(function, map(_Call, count(), jobs), processes):
            if not died:
                yield call.number, value
            elif on_death is None:
                raise UserError(DEATH)
            else:
                lost.append(call)
        for call, died, value in team.make(function, iter(lost), 1):
            yield call.number, on_death(*call.arguments) if died and on_death else value

    try:
        yield run
    finally:
        team.end(list(team.members))


def _in_this_process(
    function: Callable[..., T], jobs: Iterable[tuple], on_death: Callable[..., T] | None = None
) -> Iterator[tuple[int, T]]:
    for index, job in enumerate(jobs):
        result: Any = function(*job)
        yield from ((index, value) for value in (result if inspect.isgenerator(result) else (result,)))


class _Call(NamedTuple):
    number: int
    arguments: tuple


class _Worker:
    """A process that makes one call after the other; ``call`` is the one under way, None until it has started."""

    def __init__(self, threads: int, number: int) -> None:
        self.number = number
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in an unknown state
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, threads, number), daemon=True)
        with _interrupts_ignored():
            self.process.start()
        theirs.close()  # now the end of the process is the end of the pipe
        self.started = False
        self.call: _Call | None = None

    def take(self, function: Callable[..., Any], calls: Iterator[_Call]) -> bool:
        """Gives it the next of ``calls``; whether there was one."""
        self.call = next(calls, None)
        if self.call is not None:
            with suppress(BrokenPipeError):  # it has died: so says its end of the pipe
                self.pipe.send((function, self.call.arguments))
        return self.call is not None


class _Team:
    """Workers with ``threads`` torch threads each."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.members: list[_Worker] = []

    def make(
        self, function: Callable[..., Any], calls: Iterator[_Call], at_once: int
    ) -> Iterator[tuple[_Call, bool, Any]]:
        """Yields (call, whether its process died, else a value of it)."""
        first = next(calls, None)
        if first is None:  # no process need be started
            return
        calls = chain([first], calls)
        self.members += [_Worker(self.threads, number) for number in range(len(self.members), at_once)]
        busy = {w.pipe: w for w in self.members[:at_once] if not w.started or w.take(function, calls)}
        try:
            while busy:
                for pipe in wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    worker = busy[pipe]
                    call = worker.call
                    try:
                        kind, value = pipe.recv()
                    except (EOFError, ConnectionResetError):
                        self.end([busy.pop(pipe)])
                        if call is None:
                            raise UserError(NO_START) from None
                        self.members.append(_Worker(self.threads, worker.number))
                        busy[self.members[-1].pipe] = self.members[-1]
                        yield call, True, None
                        continue
                    if kind == "failed":
                        error, text = value
                        raise error from RuntimeError(f"in a worker process:\n{text}")
                    worker.started = True
                    if kind != "part" and not worker.take(function, calls):
                        del busy[pipe]
                    if kind in ("part", "result"):
                        assert call is not None
                        yield call, False, value
        finally:
            self.end(list(busy.values()))  # what they are at is not wanted any more

    def end(self, workers: list[_Worker]) -> None:
        """Ends some members."""
        for worker in workers:
            self.members.remove(worker)
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal; one started within leaves it to this one."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(pipe: Connection, threads: int, number: int) -> None:
    """What a worker does: "started"; then for each call its "result", or a "part" after the other and the "end"."""
    global _number
    _number = number
    signal.signal(signal.SIGTERM, _stop)
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        pipe.send(("started", None))
        while True:
            function, arguments = pipe.recv()
            try:
                result = function(*arguments)
                if inspect.isgenerator(result):
                    for part in result:
                        pipe.send(("part", part))
                pipe.send(("end", None) if inspect.isgenerator(result) else ("result", result))
            except Exception as error:
                _report(pipe, error, traceback.format_exc())


def _report(pipe: Connection, error: Exception, text: str) -> None:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # a class that does not go from one process to another
        error = RuntimeError(str(error))
    pipe.send(("failed", (error, text)))


def _stop(*_: Any) -> None:
    raise SystemExit(143)  # unlike the signal itself, it removes what is half written


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """Waits for the parent's death: a call may go on for hours."""
    parent.join()
    os._exit(1)
