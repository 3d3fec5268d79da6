"""0.0.20's autoencoder wrapper sums its gradient statistics on ``device="cuda"``, which a CPU or a Mac has not."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

_MARK = "_ear_sat_any_device"


def apply() -> None:
    """Replaces the function for modules that are not on a CUDA device; the ratio stays the host's."""
    from stable_audio_tools.training import autoencoders

    original = getattr(autoencoders, "calc_update_to_weight_ratio", None)
    if original is None or hasattr(original, _MARK):
        return

    @functools.wraps(original)
    @torch.no_grad()
    def calc_update_to_weight_ratio(module: nn.Module, lr: float, scaler: Any = None) -> float:
        trained = [p for p in module.parameters() if p.requires_grad]
        if any(p.is_cuda for p in trained):
            ratio: float = original(module, lr, scaler)
            return ratio
        gradients = [p.grad.float().norm() for p in trained if p.grad is not None]
        if not gradients:
            return 0.0
        scale = 1.0 if scaler is None else scaler.get_scale()
        weight = torch.stack([p.float().norm() for p in trained]).norm().clamp_min(1e-12)
        return float(lr * torch.stack(gradients).norm() / scale / weight)

    setattr(calc_update_to_weight_ratio, _MARK, True)
    autoencoders.calc_update_to_weight_ratio = calc_update_to_weight_ratio
