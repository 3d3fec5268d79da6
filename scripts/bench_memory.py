"""The most memory that a piece of work holds at once, on a GPU or a CPU."""

from __future__ import annotations

from typing import Any

import torch
from bench_machine import MIB


class PeakMemory:
    """The most memory between :meth:`start` and :meth:`stop` above what was held at the start: ``mib``.

    By CUDA's allocator, or on a CPU by the profiler's record of what was allocated and freed.
    """

    def __init__(self, device: str) -> None:
        self.device, self.mib = device, float("nan")
        self._held = 0
        self._profiler: Any = None

    def start(self) -> None:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._held = torch.cuda.memory_allocated()
        else:
            activities = [torch.profiler.ProfilerActivity.CPU]
            self._profiler = torch.profiler.profile(activities=activities, profile_memory=True)
            self._profiler.start()

    def stop(self) -> None:
        if self.device == "cuda":
            self.mib = (torch.cuda.max_memory_allocated() - self._held) / MIB
            return
        self._profiler.stop()
        events = self._profiler.profiler.kineto_results.events()
        held = peak = 0
        for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
            held += event.nbytes()
            peak = max(peak, held)
        self.mib = peak / MIB
