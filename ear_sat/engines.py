"""Where calls are made: in processes of this machine or on a Ray cluster. Commands that offer both take it from here.

Ranks of a launcher are another thing: each is a run of its own, over its share of the work (:mod:`ear_sat.ranks`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from .checks import require_whole
from .config import check_choice
from .processes import Runner, workers
from .ray_engine import ray_cluster

ENGINES = ("local", "ray")


def check_engine(engine: str, processes: int | None) -> None:
    """Raises UserError for an unknown engine, or less than one process."""
    check_choice("engine", engine, ENGINES)
    if processes is not None:
        require_whole("--processes", processes, at_least=1)


def runner(engine: str, processes: int | None, default: int) -> AbstractContextManager[Runner]:
    """The runner of ``engine``.

    Args:
        engine: "local" or "ray"; see :func:`.processes.workers` and :func:`.ray_engine.ray_cluster`.
        processes: how many calls are made at a time.
        default: what that is on this machine where ``processes`` is None; a cluster has its own idea.

    Raises:
        UserError: see :func:`check_engine` and the engines.

    >>> with runner("local", None, default=1) as run:
    ...     list(run(pow, [(2, 3)]))
    [(0, 8)]
    """
    check_engine(engine, processes)
    return ray_cluster(processes) if engine == "ray" else workers(processes or default)
