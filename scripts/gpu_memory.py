"""The section ``memory`` of gpu_check.py: the peak memory of a round against the plan that decides on checkpointing."""

from __future__ import annotations

from typing import Any

from bench_machine import MIB
from bench_memory import PeakMemory
from gpu_section import Section
from gpu_setting import Setting
from gpu_training import create, fitting_batch, free, require_training, train, usual_precision
from torch import Tensor

TABLE = "Peak memory of a round"
REASON = "the plan fills 85 % of the free memory; the rest is for workspaces and gradients on their way"
#: Rounds before the one that is measured: the optimizers' states exist after the first.
WARM_UP = 2


def run(section: Section, setting: Setting) -> None:
    require_training()
    precision = usual_precision(setting.device)
    (music,) = setting.music()
    batch = setting.batch
    for checkpointing in section.within_cap([True, False], lambda on: f"checkpointing {'on' if on else 'off'}"):

        def attempt(size: int, checkpointing: bool = checkpointing) -> None:
            _measure(section, setting, precision, music[:size], checkpointing)

        batch = fitting_batch(section, batch, attempt)


def _measure(section: Section, setting: Setting, precision: str, music: Tensor, checkpointing: bool) -> None:
    from ear_sat.training.memory_plan import USABLE

    free(setting.device)
    config = setting.config()
    for side in ("encoder", "decoder"):
        config["model"][side]["config"]["gradient_checkpointing"] = checkpointing
    wrapper = create(config, setting.device)
    planned: list[float] = []
    peak = PeakMemory(setting.device)

    def before(trainer: Any) -> None:
        if wrapper.rounds == WARM_UP:
            if not checkpointing:
                with trainer.precision_plugin.forward_context():  # the plan is made under training's autocast
                    planned.append(plan(wrapper, music) / MIB)
            peak.start()

    def after(trainer: Any) -> None:
        if wrapper.rounds == WARM_UP + 1:
            peak.stop()

    train(wrapper, [music], WARM_UP + 1, setting, precision, before=before, after=after)
    what = f"checkpointing {'on' if checkpointing else 'off'}, {precision}, batch {len(music)}"
    section.row("The plan", what=what, planned_MiB=planned[0] if planned else None, measured_MiB=peak.mib)
    if planned:
        section.check(TABLE, what, peak.mib / planned[0], 1 / USABLE, REASON, "of the plan", least=False)


def plan(wrapper: Any, music: Tensor) -> float:
    """Bytes that the plan expects a round without checkpointing to need beyond weights and moments."""
    from ear_sat.training.memory_plan import graph_bytes

    gradients = sum(
        p.nbytes
        for optimizer in wrapper.trainer.optimizers
        for group in optimizer.param_groups
        for p in group["params"]
    )
    return graph_bytes(wrapper, wrapper.schedule.phases[0], *music.shape) + gradients
