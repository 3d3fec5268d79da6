"""What the processes of one training tell each other; alone, each value is what it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed


def over_ranks(values: Sequence[float], device: torch.device, how: str) -> list[float]:
    """Each value's "sum", "mean", "min" or "max" over all ranks, which call this with as many values at the same time.

    Args:
        values: this rank's.
        device: that the ranks compute on.
        how: they become one.

    >>> over_ranks([1.0, 2.0], torch.device("cpu"), "mean")
    [1.0, 2.0]
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(values)
    kind = torch.float32 if device.type == "mps" else torch.float64  # MPS has no more
    shared = torch.tensor(values, dtype=kind, device=device)
    operation = {"min": distributed.ReduceOp.MIN, "max": distributed.ReduceOp.MAX}.get(how, distributed.ReduceOp.SUM)
    distributed.all_reduce(shared, op=operation)
    return (shared / distributed.get_world_size() if how == "mean" else shared).tolist()


def all_ranks_agree(ok: bool, device: torch.device) -> bool:
    """True if ``ok`` is true on every rank."""
    return bool(over_ranks([ok], device, "min")[0])
