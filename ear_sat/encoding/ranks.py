"""Which share of the work is this process's: torchrun's and SLURM's variables, and processes of our own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast

from ..errors import UserError

Job = TypeVar("Job")

#: Launcher → variables of rank, number of ranks, and rank on this machine. SLURM's batch script, which is one process,
#: has them too; only srun, which starts one per task, sets the variable of a step.
_SLURM_STEP = "SLURM_STEP_ID"
_VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "SLURM": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
}


@dataclass(frozen=True)
class Place:
    """This process among those that a launcher started: ``rank`` of ``size``, and its number on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launcher: str = ""


def find_place(environment: Mapping[str, str] | None = None) -> Place:
    """The place that torchrun's variables say, else SLURM's, else the only one.

    Raises:
        UserError: the variables are not whole numbers that go together.

    >>> find_place({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"})
    Place(rank=3, size=4, local_rank=0, launcher='SLURM')
    """
    environment = os.environ if environment is None else environment
    for launcher, (rank_name, size_name, local_name) in _VARIABLES.items():
        if rank_name not in environment or size_name not in environment:
            continue
        if launcher == "SLURM" and _SLURM_STEP not in environment:
            continue
        try:
            rank, size = int(environment[rank_name]), int(environment[size_name])
            local_rank = int(environment.get(local_name, "0"))
        except ValueError:
            rank, size, local_rank = 0, 0, 0
        if not 0 <= rank < size or local_rank < 0:
            raise UserError(
                f"{rank_name}={environment[rank_name]} and {size_name}={environment[size_name]} do not go together; "
                f"unset them, or start the command with {launcher}"
            )
        return Place(rank, size, local_rank, launcher)
    return Place()


def run_in_processes(work: Callable[[Job], Iterable[Any]], jobs: Sequence[Job]) -> Iterator[Any]:
    """Runs ``work(job)`` in a spawned process per job and yields what the processes yield, as it comes.

    ``work`` is a function of a module; jobs and what is yielded can be pickled. All processes end with this one,
    however that ends.

    Raises:
        UserError: one process failed or was killed; the others are stopped.
    """
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, Any] = {}
    try:
        for job in jobs:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(sender, work, job), daemon=True)
            with _interrupts_ignored():
                process.start()
            sender.close()  # now the end of the process is the end of the pipe
            processes[receiver] = process
        while processes:
            for receiver in cast("list[Connection]", wait(list(processes))):
                try:
                    kind, content = receiver.recv()
                except EOFError:
                    kind, content = _outcome(processes[receiver])
                if kind == "failed":
                    raise UserError(content)
                if kind == "done":
                    processes.pop(receiver).join()
                    receiver.close()
                else:
                    yield content
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


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


def _outcome(process: Any) -> tuple[str, str]:
    process.join()
    how = f"was killed by signal {-process.exitcode}" if process.exitcode < 0 else f"ended with {process.exitcode}"
    return "failed", (
        f"process {process.name} {how}, perhaps for want of memory; the same command continues where it stopped, "
        "perhaps with fewer --processes"
    )


def _child(sender: Connection, work: Callable[[Job], Iterable[Any]], job: Job) -> None:
    signal.signal(signal.SIGTERM, _stop)
    warnings.simplefilter("ignore")  # the parent has shown them
    parent = multiprocessing.parent_process()
    try:
        for content in work(job):
            sender.send(("result", content))
            if parent is not None and not parent.is_alive():
                return
        sender.send(("done", None))
    except UserError as error:
        sender.send(("failed", str(error)))
    except BrokenPipeError:  # the parent was killed
        return
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        sender.send(("failed", f"a process stopped with {type(error).__name__}: {first}"))


def _stop(*_: Any) -> None:
    raise SystemExit(143)
