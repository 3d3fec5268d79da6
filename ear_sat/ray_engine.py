"""Jobs on a Ray cluster, with the interface of :mod:`ear_sat.processes`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from .errors import UserError
from .processes import DEATH, Runner, cores

T = TypeVar("T")

ANSWER_SECONDS = 10
JOBS_PER_CORE = 4  # handed out at a time: no core waits for its next call, and few are in memory
RETRIES = 3  # of a call whose process or machine died, before it counts as the call's fault


@contextmanager
def ray_cluster(processes: int | None = None) -> Iterator[Runner]:
    """A runner on the cluster that ``RAY_ADDRESS`` names or that runs on this machine, or on one started for the block.

    Args:
        processes: calls at a time; by default as many as the cluster has cores.

    Raises:
        UserError: Ray is not installed, or ``RAY_ADDRESS`` does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("the engine ray needs Ray; run: pip install 'ear-sat[ray]'") from None
    connected_before = ray.is_initialized()
    existing = True
    if not connected_before:
        _check_address(os.environ.get("RAY_ADDRESS", ""))
        try:
            ray.init(address="auto", log_to_driver=False, configure_logging=False)
        except ConnectionError:
            existing = False
            count = processes or cores()
            ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False, configure_logging=False)
    if processes is not None and existing:
        limit = processes
    else:
        limit = JOBS_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        yield _runner(limit)
    finally:
        if not connected_before:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Raises UserError if nothing answers at host:port, which Ray itself finds out after minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); start it or unset it") from error


def _runner(limit: int) -> Runner:
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

    def run(
        function: Callable[..., T], jobs: Iterable[tuple], on_death: Callable[..., T] | None = None
    ) -> Iterator[tuple[int, T]]:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(function)
        numbered = enumerate(jobs)
        waiting: dict[Any, tuple[int, tuple]] = {}
        while True:
            for index, job in islice(numbered, limit - len(waiting)):
                waiting[task.remote(*job)] = (index, job)
            if not waiting:
                return
            for reference in ray.wait(list(waiting))[0]:
                index, job = waiting.pop(reference)
                try:
                    result = ray.get(reference)
                except RayTaskError as error:  # the function itself failed
                    if "failed to import" in str(error):
                        raise UserError(
                            "a machine of the Ray cluster cannot import ear_sat; install the same version everywhere"
                        ) from error
                    raise
                except (WorkerCrashedError, OutOfMemoryError):
                    if on_death is None:
                        raise UserError(DEATH) from None
                    result = on_death(*job)
                except RayError as error:  # the cluster ended or lost a machine: no call is to blame for that
                    raise UserError(
                        f"the Ray cluster failed ({type(error).__name__}); run the same command again: what is "
                        "finished is kept"
                    ) from error
                yield index, result

    return run
