"""The section ``synchronisations`` of gpu_check.py: how often a round waits for the GPU, and where in the code."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_section import Section
from gpu_setting import Setting
from gpu_training import create, measure_rounds, train, usual_precision
from torch import Tensor
from torch.overrides import TorchFunctionMode

WARM_UP = 2
PACKAGE = Path(__file__).parents[1] / "ear_sat"
#: Calls that need a tensor's values in Python: on a GPU each waits for it.
WAITING = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "equal", "nonzero")


def run(section: Section, setting: Setting) -> None:
    measure_rounds(section, setting, _measure)


def _measure(section: Section, setting: Setting, music: Tensor) -> None:
    config = setting.config()
    config["training"]["log_every"] = 10  # as users have it; a round that logs reads all its losses
    wrapper = create(config, setting.device)
    sites: Counter[str] = Counter()
    counting = contextlib.ExitStack()

    def before(trainer: Any) -> None:
        if wrapper.rounds == WARM_UP:
            counting.enter_context(count(sites, setting.device))

    def after(trainer: Any) -> None:
        if wrapper.rounds == WARM_UP + 1:
            counting.close()

    with counting:
        train(wrapper, [music], WARM_UP + 1, setting, usual_precision(setting.device), before=before, after=after)
    how = "CUDA's own warnings" if setting.device == "cuda" else "calls that would wait for a GPU"
    section.note(f"A round that does not log waits {sites.total()} times, by {how}.")
    for site, times in sites.most_common():
        section.row("Where a round waits", site=site, times=times)


@contextlib.contextmanager
def count(sites: Counter[str], device: str) -> Iterator[None]:
    """While open, adds each synchronisation to its place in our code, or in what calls or surrounds it."""
    if device != "cuda":
        with _Waiting(sites):
            yield
        return

    def show(message: Any, *_: Any, **__: Any) -> None:
        if "synchroniz" in str(message):
            sites[call_site()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def call_site() -> str:
    """The innermost line of our package on the stack; else the innermost one outside this script."""
    frames = [f for f in traceback.extract_stack() if f.filename != __file__]
    ours = [f for f in frames if Path(f.filename).is_relative_to(PACKAGE)]
    frame = ours[-1] if ours else next(f for f in reversed(frames) if not f.filename.endswith("warnings.py"))
    path = Path(frame.filename)
    name = path.relative_to(PACKAGE.parent).as_posix() if ours else "/".join(path.parts[-2:])
    return f"{name}:{frame.lineno} {frame.line}"


class _Waiting(TorchFunctionMode):
    """Counts the calls that would wait for a GPU; not the optimizers' own, whose counters of steps are on the CPU."""

    def __init__(self, sites: Counter[str]) -> None:
        super().__init__()
        self.sites = sites

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in WAITING and not _in_optimizer():
            self.sites[call_site()] += 1
        return func(*args, **(kwargs or {}))


def _in_optimizer() -> bool:
    return any("/torch/optim/" in Path(frame.filename).as_posix() for frame in traceback.extract_stack())
