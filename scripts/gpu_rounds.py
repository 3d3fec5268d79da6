"""The section ``rounds`` of gpu_check.py: rounds of the full config in each precision, same seed and same music."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Any

import torch
from bench_machine import MIB, now
from gpu_precision import trained_in
from gpu_section import Section
from gpu_setting import Setting
from gpu_training import create, fitting_batch, free, require_training, train

#: Seconds of rounds per precision, and rounds at most in miniature.
SECONDS, MINI_ROUNDS = 60.0, 4
#: Rounds before the clock counts: kernels are chosen and optimizers' states are made in them.
WARM_UP = 3
BATCHES = 16
#: Curves of the figure: the log's keys under train/.
TOTAL, RAW = "train/loss/", "train/raw/"


def run(section: Section, setting: Setting) -> None:
    require_training()
    music = setting.music(2 if setting.mini else BATCHES)
    if setting.device == "cpu":
        section.note("16-mixed: left out, Lightning has none on a CPU. Peak memory: section memory.")
    names = trained_in(setting.device)
    batch = setting.batch
    for index, precision in enumerate(section.within_cap(names)):
        seconds = section.left / (len(names) - index)

        def attempt(size: int, precision: str = precision, seconds: float = seconds) -> None:
            _measure(section, setting, precision, [clips[:size] for clips in music], seconds)

        batch = fitting_batch(section, batch, attempt)


def _measure(section: Section, setting: Setting, precision: str, music: list[torch.Tensor], seconds: float) -> None:
    """One row and the curves of one precision; ``seconds`` are what it may take with the building of the networks."""
    began = now(setting.device)
    free(setting.device)
    wrapper = create(setting.config(), setting.device)
    logs: list[dict[str, float]] = []
    stamps: list[float] = []

    def after(trainer: Any) -> bool:
        stamps.append(now(setting.device))
        logs.append(dict(wrapper.last_log))
        return not setting.mini and (stamps[-1] - stamps[0] > SECONDS or stamps[-1] - began > seconds)

    train(wrapper, music, MINI_ROUNDS if setting.mini else 10**6, setting, precision, after=after)
    intervals = [end - start for start, end in pairwise(stamps)][WARM_UP - 1 :]
    section.row(
        "Rounds",
        precision=f"{precision} (TF32 convolutions)" if setting.device == "cuda" and precision == "32" else precision,
        batch=len(music[0]),
        rounds=wrapper.rounds,
        bad_batches=wrapper.faults.total,
        rounds_per_s=1 / statistics.median(intervals) if intervals else None,
        build_s=stamps[0] - began,
        peak_memory_MiB=torch.cuda.max_memory_allocated() / MIB if setting.device == "cuda" else None,
        last_loss=logs[-1]["train/loss/total"],
    )
    for key in logs[0]:
        if key.startswith((TOTAL, RAW)):
            section.curves(key.removeprefix("train/"), precision, [log[key] for log in logs])
