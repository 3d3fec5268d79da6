"""What the parts of bench.py share: clock, memory, and the ceilings of the machine."""

from __future__ import annotations

import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

MIB = 1 << 20
#: Runs before the clock counts, per device.
WARM_UP = {"cpu": 1, "cuda": 5}


def now(device: str) -> float:
    """Seconds, when the device has done what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def timed(call: Callable[[], object], device: str, times: int) -> list[float]:
    """Seconds of each of ``times`` calls after the warm-up."""
    samples = []
    for turn in range(WARM_UP[device] + times):
        start = now(device)
        call()
        if turn >= WARM_UP[device]:
            samples.append(now(device) - start)
    return samples


def peak_memory(device: str) -> float:
    """Most memory so far, MiB: of this process (Linux counts KiB, macOS bytes), or allocated on the GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def machine() -> dict[str, Any]:
    """Name and versions."""
    info = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else None
    versions = {package: metadata.version(package) for package in ("torch", "stable-audio-tools", "pytorch-lightning")}
    return {"cpu": name[1] if name else platform.processor(), "cores": os.cpu_count(), **versions}


def run_ceilings(device: str) -> dict[str, float]:
    """The machine's limits by plain calls of torch: GFLOP/s of a matrix product and of a convolution, GB/s of a copy.

    The convolution is a wide one, channels last; on some CPUs torch's matrix product in float32 is the slower one.
    """
    import torch

    result = {}
    with torch.inference_mode():
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            a, b = (torch.randn(2048, 2048, device=device).to(dtype) for _ in range(2))
            seconds = statistics.median(timed(lambda a=a, b=b: a @ b, device, 5))  # type: ignore[misc]
            result[f"matmul_{name}_gflops"] = 2 * 2048**3 / seconds / 1e9
            conv = torch.nn.Conv2d(512, 512, (1, 7), padding=(0, 3), device=device, dtype=dtype)
            conv, x = conv.to(memory_format=torch.channels_last), torch.randn(1, 512, 1, 16384, device=device)
            x = x.to(dtype).contiguous(memory_format=torch.channels_last)
            seconds = statistics.median(timed(lambda conv=conv, x=x: conv(x), device, 5))  # type: ignore[misc]
            result[f"convolution_{name}_gflops"] = 2 * 512 * 512 * 7 * 16384 / seconds / 1e9
        source = torch.zeros(64 * MIB, device=device)
        target = torch.zeros_like(source)
        seconds = statistics.median(timed(lambda: target.copy_(source), device, 5))
        result["copy_gb_per_s"] = 2 * 4 * 64 * MIB / seconds / 1e9
    return result
