"""Shared memory, through which worker processes hand over batches: how many workers it carries, and where it ends."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import get_worker_info

from ..errors import UserError, causes, first_line

logger = logging.getLogger(__name__)

#: Where Linux keeps what processes share; Docker gives a container 64 MB of it.
FOLDER = Path("/dev/shm")
#: Batches per worker that torch has read ahead, and those that a training has in hand or will take next.
PREFETCH, IN_HAND = 2, 2
_REMEDY = "give it more (docker run --shm-size=8g), or read with fewer processes: --num-workers"
_DEATH = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by signal: (?P<signal>[^.]+)|exited unexpectedly)")


def free_bytes(folder: Path = FOLDER) -> int | None:
    """What is free there, in bytes, none where it is missing; None where this system does not share through files."""
    if sys.platform != "linux":
        return None
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def audio_batch_bytes(batch_size: int, channels: int, samples: int) -> int:
    """Of a batch: float32 audio, and each item's padding mask."""
    return batch_size * (channels + 1) * samples * 4


def fitting_workers(workers: int, batch_bytes: int, free: int | None) -> int:
    """The most workers, up to ``workers``, whose batches find room; 0 is none, and reads in this process.

    Args:
        workers: those asked for.
        batch_bytes: of one batch.
        free: bytes of shared memory; None for no limit.

    >>> fitting_workers(8, batch_bytes=6_000_000, free=64_000_000), fitting_workers(8, 20_000_000, 64_000_000)
    (4, 0)
    """
    if free is None or workers == 0:
        return workers
    return max(0, min(workers, (free // max(1, batch_bytes) - IN_HAND) // PREFETCH))


def settle_workers(workers: int, batch_bytes: int, free: int | None = None) -> int:
    """:func:`fitting_workers` in what is ``free``, by default here; says so where they are fewer."""
    free = free_bytes() if free is None else free
    fitting = fitting_workers(workers, batch_bytes, free)
    if fitting < workers and free is not None:
        room = f"{free / 1e6:.0f} MB of shared memory are free in {FOLDER}, and batches take {batch_bytes / 1e6:.0f} MB"
        use = f"{fitting} of {workers} worker processes read" if fitting else "this process reads, without workers"
        logger.warning("%s: %s; %s", room, use, _REMEDY)
    return fitting


class InSharedMemory:
    """Collates samples and, in a worker process, moves the tensors of the batch into shared memory.

    torch would do that after the worker's work, in a thread whose errors end nothing: a training would wait for ever.
    """

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch.

        Raises:
            UserError: there is too little shared memory, or each process may open too few files.
        """
        batch = self.collate(samples)
        if get_worker_info() is not None:
            try:
                _share(batch)
            except (OSError, RuntimeError) as error:
                first = first_line(error)
                remedy = "raise ulimit -n, or lower --batch-size" if "open files" in first else _REMEDY
                raise UserError(f"a batch finds no room in shared memory ({first:.200}): {remedy}") from error
        return batch


def _share(value: Any) -> None:
    if isinstance(value, torch.Tensor):
        if value.device.type == "cpu":
            value.share_memory_()
    elif isinstance(value, Mapping):
        for item in value.values():
            _share(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _share(item)


def worker_death(error: BaseException) -> UserError | None:
    """The sentence for what torch raises when a worker process has died; None for any other error."""
    found = [match for cause in causes(error) if (match := _DEATH.search(str(cause)))]
    if not found:
        return None
    name = next((match["signal"] for match in found if match["signal"]), None)  # the cause may name it
    how = f"was ended by a signal ({name})" if name else "died"
    return UserError(
        f"a process that reads data {how}, most likely for want of memory or, in a container, of shared memory: "
        f"{_REMEDY}"
    )
