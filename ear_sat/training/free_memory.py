"""How many bytes this process can still allocate on its device."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

#: A control group's limit, use, and statistics with the part of the use that is cache: version 2, version 1.
_CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
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
        return min(_of_machine(), _of_container()) / sharing
    return math.inf


def _of_machine() -> float:
    try:
        return 1024.0 * _table("/proc/meminfo")["MemAvailable"]
    except (OSError, KeyError, ValueError):
        pass
    try:  # not Linux: the memory that is built in
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _of_container() -> float:
    for folder, limit, use, cache in _CGROUPS:
        try:
            free = int(Path(folder, limit).read_text()) - int(Path(folder, use).read_text())
            return float(free + _table(f"{folder}/memory.stat")[cache])
        except (OSError, KeyError, ValueError):  # another version, or no limit: the word "max"
            continue
    return math.inf


def _table(path: str) -> dict[str, int]:
    """``name value`` or ``name: value unit`` per line."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
