"""InverseLR of stable-audio-tools 0.0.19 passes ``verbose`` to torch's LRScheduler, which torch ≥ 2.7 refuses."""

from __future__ import annotations

import inspect
from typing import Any

import torch


def needed() -> bool:
    """Whether the host's InverseLR still hands ``verbose`` to a torch that does not take it."""
    from stable_audio_tools.training import utils

    takes_verbose = "verbose" in inspect.signature(torch.optim.lr_scheduler.LRScheduler.__init__).parameters
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    if takes_verbose:
        return False
    try:
        utils.InverseLR(optimizer)
    except TypeError:
        return True
    return False


def apply() -> None:
    """Replaces the class by a subclass with a constructor that torch accepts; the schedule itself stays the host's."""
    if not needed():
        return
    from stable_audio_tools.training import utils

    class InverseLR(utils.InverseLR):  # type: ignore[name-defined,misc]
        def __init__(
            self,
            optimizer: Any,
            inv_gamma: float = 1.0,
            power: float = 1.0,
            warmup: float = 0.0,
            final_lr: float = 0.0,
            last_epoch: int = -1,
            verbose: bool = False,
        ) -> None:
            self.inv_gamma, self.power, self.warmup, self.final_lr = inv_gamma, power, warmup, final_lr
            if not 0.0 <= warmup < 1:
                raise ValueError("Invalid value for warmup")
            torch.optim.lr_scheduler.LRScheduler.__init__(self, optimizer, last_epoch)

    from ..register import host_modules

    original = utils.InverseLR
    for module in host_modules():
        if getattr(module, "InverseLR", None) is original:
            module.InverseLR = InverseLR  # type: ignore[attr-defined]
