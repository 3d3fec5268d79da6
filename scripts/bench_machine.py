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
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import zip_longest
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


@dataclass(frozen=True)
class Ceiling:
    """A limit of the machine, found by ever more work of one kind."""

    key: str
    sizes: tuple[int, ...]  # growing; the rate at the last one counts
    work: Callable[[int], float]  # of one call at a size: GFLOP or GB
    prepare: Callable[[int], Callable[[], object]]

    def measure(self, device: str, budget: float) -> tuple[float, int]:
        """Work per second, and the size it was measured at: the last one that ``budget`` seconds have room for."""
        start = now(device)
        for size, larger in zip_longest(self.sizes, self.sizes[1:]):
            call, began = self.prepare(size), now(device)
            rate = self.work(size) / statistics.median(timed(call, device, 5))
            if larger is not None:
                end = now(device)
                if end - start + (end - began) * self.work(larger) / self.work(size) > budget:
                    break
        return rate, size


def ceilings(device: str) -> list[Ceiling]:
    """Plain calls of torch: a matrix product and a convolution in two types, and a copy.

    The convolution is a wide one, channels last; on some CPUs torch's matrix product in float32 is the slower one.
    """
    import torch
    from torch.nn import Conv2d

    def matmul(size: int, dtype: torch.dtype) -> Callable[[], object]:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        return lambda: a @ b

    def convolution(size: int, dtype: torch.dtype) -> Callable[[], object]:
        layout = {"device": device, "dtype": dtype, "memory_format": torch.channels_last}
        conv = Conv2d(512, 512, (1, 7), padding=(0, 3)).to(**layout)
        x = torch.randn(1, 512, 1, size).to(**layout)
        return lambda: conv(x)

    def copy(size: int) -> Callable[[], object]:
        source = torch.zeros(size * MIB, device=device)
        target = torch.zeros_like(source)
        return lambda: target.copy_(source)

    result = [Ceiling("copy_gb_per_s", (1, 8, 64), lambda n: 2 * 4 * n * MIB / 1e9, copy)]
    for name in ("float32", "bfloat16"):
        dtype = getattr(torch, name)
        product, wide = partial(matmul, dtype=dtype), partial(convolution, dtype=dtype)
        flop, flop_wide = (lambda n: 2 * n**3 / 1e9), (lambda n: 2 * 512 * 512 * 7 * n / 1e9)
        result.append(Ceiling(f"matmul_{name}_gflops", (128, 256, 512, 1024, 2048), flop, product))
        result.append(Ceiling(f"convolution_{name}_gflops", (16, 64, 256, 1024, 4096, 16384), flop_wide, wide))
    return result


def run_ceilings(device: str, budget: float) -> dict[str, Any]:
    """GFLOP/s and GB/s by key, ``budget`` seconds for each; "capped" says which of them the budget kept small, and how.

    Where the processor has no bfloat16, one full-size call in it can take a minute.
    """
    import torch

    result: dict[str, Any] = {}
    capped = {}
    with torch.inference_mode():
        for ceiling in ceilings(device):
            result[ceiling.key], size = ceiling.measure(device, budget)
            if size != ceiling.sizes[-1]:
                capped[ceiling.key] = f"size {size} of {ceiling.sizes[-1]}"
    return {**result, "capped": capped}
