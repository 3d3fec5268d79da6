"""The section ``resume`` of gpu_check.py: 8 rounds against 4 and 4 through a checkpoint, bit for bit."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from gpu_section import Section
from gpu_setting import SEED, Setting
from gpu_training import create, free, require_training, train, usual_precision
from torch import Tensor

if TYPE_CHECKING:
    import pytorch_lightning as pl

ROUNDS = 8
#: Width of both players at full size: the kernels are of the same kind, the checkpoint is quickly written.
WIDTHS = {"channels": 32, "filters": 16}
TABLE = "Largest difference over all weights, moments and the moving average"
#: How much further than two undisturbed runs a resumed one may be from one of them, where those differ: chaos varies.
MARGIN = 10.0


def run(section: Section, setting: Setting) -> None:
    require_training()
    music = [
        clips[: 1 if setting.mini else 2] for clips in setting.music()
    ]  # one batch: the order of the data is not in question here
    precision = usual_precision(setting.device)
    states: dict[str, dict[str, Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder, _deterministic() as said:
        path = Path(folder, "half.ckpt")
        runs = {"undisturbed": (ROUNDS, None), "again": (ROUNDS, None), "first half": (ROUNDS // 2, None)}
        for name, (rounds, start) in {**runs, "resumed": (ROUNDS, path)}.items():
            for _ in section.within_cap([name]):
                states[name] = _trained(setting, music, precision, rounds, start, path if "half" in name else None)
    operations = sorted({str(w.message).split(" does not have")[0] for w in said if "deterministic" in str(w.message)})
    if operations:
        section.note(f"Without a deterministic form on this device: {', '.join(operations)}.")
    between = difference(states["undisturbed"], states["again"])
    section.row(TABLE, what="two undisturbed runs", value=between, unit="")
    bound, reason = bound_of_resume(between)
    resumed = difference(states["undisturbed"], states["resumed"])
    section.check(
        TABLE, f"{ROUNDS} rounds and {ROUNDS // 2} + {ROUNDS // 2}, {precision}", resumed, bound, reason, "", False
    )


def bound_of_resume(between: float) -> tuple[float, str]:
    """The largest difference that a resumed run may have, for the difference of two undisturbed runs; and why.

    >>> bound_of_resume(0.0)[0], bound_of_resume(0.5)[0]
    (0.0, 5.0)
    """
    if between == 0:
        return 0.0, "two undisturbed runs are equal bit for bit on this device, so a resumed one must be"
    return MARGIN * between, "the device's kernels do not repeat exactly: 10 times what two undisturbed runs differ by"


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest absolute difference over all tensors; infinite where one is missing or not finite."""
    if one.keys() != other.keys():
        return float("inf")
    differences = [(one[key].double() - other[key].double()).abs().max() for key in one if one[key].numel()]
    return torch.stack(differences).max().nan_to_num(float("inf"), float("inf")).item()  # max() of torch keeps NaN


def _trained(
    setting: Setting, music: list[Tensor], precision: str, rounds: int, start: Path | None, save: Path | None
) -> dict[str, Tensor]:
    """All tensors of a run after ``rounds`` rounds in all, on the CPU."""
    free(setting.device)
    config = setting.config() if setting.mini else setting.config(**WIDTHS)
    wrapper = create(config, setting.device, seed=SEED if start is None else SEED + 1)
    if start is not None:
        wrapper.seed = None  # the checkpoint's

    def after(trainer: pl.Trainer) -> None:
        if save is not None and wrapper.rounds == rounds:
            trainer.save_checkpoint(save)

    trainer = train(wrapper, music, rounds, setting, precision, start=start, after=after)
    state = {name: tensor.detach().cpu().clone() for name, tensor in wrapper.state_dict().items()}
    for number, optimizer in enumerate(trainer.optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            state |= {f"{number}/{index}/{k}": v.cpu().clone() for k, v in moments.items() if isinstance(v, Tensor)}
    return state


@contextlib.contextmanager
def _deterministic() -> Iterator[list[warnings.WarningMessage]]:
    """While open, deterministic kernels are used where there are any; gives the warnings of where there are none."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield said
        finally:
            torch.use_deterministic_algorithms(False)
