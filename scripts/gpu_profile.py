"""The section ``profile`` of gpu_check.py: where a round of training goes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from unittest import mock

from bench_machine import now
from gpu_section import Section
from gpu_setting import Setting
from gpu_training import create, measure_rounds, train, usual_precision
from torch import Tensor

WARM_UP, OPERATIONS = 2, 15
#: The modules that name the parts of a round.
NAMING = ("ear_sat.training.wrapper", "ear_sat.training.round", "ear_sat.training.adversary")
MARK = "ear_sat: "


def run(section: Section, setting: Setting) -> None:
    measure_rounds(section, setting, _measure)


def _measure(section: Section, setting: Setting, music: Tensor) -> None:
    """Two rounds after the warm-up: the parts of one by the clock, the operations of the next by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    cuda = setting.device == "cuda"
    precision = usual_precision(setting.device)
    wrapper = create(setting.config(), setting.device)
    profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])])
    parts: dict[str, float] = {}
    stamps: list[float] = []
    timing = contextlib.ExitStack()

    def before(trainer: Any) -> None:
        if wrapper.rounds == WARM_UP:
            timing.enter_context(timed_parts(parts, setting.device))
        elif wrapper.rounds == WARM_UP + 1:
            profiler.start()
        stamps.append(now(setting.device))

    def after(trainer: Any) -> None:
        stamps.append(now(setting.device))
        if wrapper.rounds == WARM_UP + 1:
            timing.close()
        elif wrapper.rounds == WARM_UP + 2:
            profiler.stop()

    with timing:
        train(wrapper, [music], WARM_UP + 2, setting, precision, before=before, after=after)
    plain, timed, profiled = (stamps[2 * at + 1] - stamps[2 * at] for at in range(WARM_UP - 1, WARM_UP + 2))
    section.note(
        f"One round, {precision}, batch {len(music)}: {plain:.3g} s; {timed:.3g} s with the device waited for around "
        f"each part, {profiled:.3g} s under the profiler."
    )
    for part, seconds in parts.items():
        section.row("Parts, by the clock", part=part, ms=1e3 * seconds, per_cent=100 * seconds / timed)
    _report_operations(section, profiler.key_averages(), cuda)


@contextlib.contextmanager
def timed_parts(parts: dict[str, float], device: str) -> Iterator[None]:
    """While open, adds the seconds of each named part of a round; the device is waited for at both ends.

    The profiler cannot tell them: a GPU's backward kernels are launched from another thread than the part is named in.
    """

    @contextlib.contextmanager
    def record(name: str) -> Iterator[None]:
        start = now(device)
        yield
        part = name.removeprefix(MARK)
        parts[part] = parts.get(part, 0.0) + now(device) - start

    with contextlib.ExitStack() as stack:
        for name in NAMING:
            stack.enter_context(mock.patch.object(import_module(name), "record_function", record))
        yield


def _report_operations(section: Section, events: Any, cuda: bool) -> None:
    """Operations by the time that the device spent in them; on a GPU its kernels as well."""
    named = [e for e in events if not e.key.startswith(MARK) and not getattr(e, "is_user_annotation", False)]
    on_cpu = [e for e in named if e.device_type.name == "CPU"]
    tables = {"Operations": on_cpu, **({"Kernels": [e for e in named if e not in on_cpu]} if cuda else {})}
    total = sum(_own(event, cuda) for event in tables["Kernels" if cuda else "Operations"])
    for table, of_it in tables.items():
        for event in sorted(of_it, key=lambda e: -_own(e, cuda))[:OPERATIONS]:
            own = _own(event, cuda)
            name = event.key if len(event.key) <= 90 else event.key[:89] + "…"  # kernels have names of a page
            per_cent = 100 * own / total if total else None
            section.row(table, operation=name, calls=event.count, ms=own * 1e3, per_cent=per_cent)


def _own(event: Any, cuda: bool) -> float:
    """Seconds in the operation itself: on the GPU where there is one."""
    return float(event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
