"""How many bytes this process can still allocate on its device."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import torch

#: A container's limit, its use, and the statistic that says how much of that is cache: control groups 2 and 1.
_CONTAINERS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def free_memory(device: torch.device, sharing: int = 1) -> float:
    """Bytes that can still be allocated on ``device``; infinite where that cannot be told.

    On a GPU this counts what torch's allocator holds in reserve; on the CPU the least of the machine's and of the
    container's.

    Args:
        device: the device of this process.
        sharing: processes of the run that share the machine's memory; each is given an equal part on the CPU.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    if device.type == "cpu":
        machine = float(psutil.virtual_memory().available)
        return min(machine, *(_of_container(*files) for files in _CONTAINERS)) / sharing
    return math.inf


def _of_container(limit: str, use: str, cache: str) -> float:
    """psutil knows the machine only: what a container leaves of its limit stands in files."""
    try:
        statistics = dict(line.split() for line in Path(use).with_name("memory.stat").read_text().splitlines())
        return float(int(Path(limit).read_text()) - int(Path(use).read_text()) + int(statistics[cache]))
    except (OSError, KeyError, ValueError):  # another version, or no limit: the word "max"
        return math.inf
