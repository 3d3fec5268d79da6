"""The section ``profile`` of gpu_check.py: where a round of training goes."""

from __future__ import annotations

from typing import Any

from bench_machine import now
from gpu_section import Section
from gpu_setting import Setting
from gpu_training import create, fitting_batch, free, require_training, train
from torch import Tensor

WARM_UP, OPERATIONS = 2, 15
MARK = "ear_sat: "


def run(section: Section, setting: Setting) -> None:
    require_training()
    (music,) = setting.music()
    fitting_batch(section, setting.batch, lambda size: _measure(section, setting, music[:size]))


def _measure(section: Section, setting: Setting, music: Tensor) -> None:
    from torch.profiler import ProfilerActivity, profile

    free(setting.device)
    cuda = setting.device == "cuda"
    precision = "bf16-mixed" if cuda else "32"
    wrapper = create(setting.config(), setting.device)
    profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])])
    stamps: list[float] = []

    def before(trainer: Any) -> None:
        if wrapper.rounds == WARM_UP:
            profiler.start()
            stamps.append(now(setting.device))

    def after(trainer: Any) -> None:
        if wrapper.rounds == WARM_UP + 1:
            stamps.append(now(setting.device))
            profiler.stop()

    train(wrapper, [music], WARM_UP + 1, setting, precision, before=before, after=after)
    events = profiler.key_averages()
    total = sum(_own(event, cuda) for event in events)
    section.note(
        f"One round, {precision}, batch {len(music)}: {stamps[1] - stamps[0]:.3g} s under the profiler, of which "
        f"operations kept the {'GPU' if cuda else 'CPU'} busy for {total:.3g} s."
    )
    for event in events:
        if event.key.startswith(MARK):
            time = event.device_time_total if cuda else event.cpu_time_total
            section.row("Parts", part=event.key.removeprefix(MARK), ms=time / 1e3, per_cent=time / 1e4 / total)
    operations = [event for event in events if not event.key.startswith(MARK)]
    for event in sorted(operations, key=lambda e: -_own(e, cuda))[:OPERATIONS]:
        own = _own(event, cuda)
        name = event.key if len(event.key) <= 90 else event.key[:89] + "…"  # kernels have names of a page
        section.row("Operations", operation=name, calls=event.count, ms=own * 1e3, per_cent=100 * own / total)


def _own(event: Any, cuda: bool) -> float:
    """Seconds in the operation itself: on the GPU where there is one."""
    return float(event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
