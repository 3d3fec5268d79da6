"""What is logged of a round, under path-like keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def latent_statistics(latents: Tensor, info: Mapping[str, Any]) -> dict[str, Tensor]:
    """Mean and standard deviation of the latents, and the mean of the posterior's standard deviation."""
    latents = latents.detach().float()
    values = {"latent/mean": latents.mean(), "latent/std": latents.std()}
    if isinstance(info.get("std"), Tensor):
        values["latent/posterior_std"] = info["std"].detach().float().mean()
    return values


def round_log(
    values: Mapping[str, Tensor],
    norms: Mapping[str, Tensor],
    rates: Mapping[str, float],
    output_gradients: Mapping[str, float],
) -> dict[str, float]:
    """One row: the round's values, each weighted term's share of the sum, gradient norms and rates.

    >>> values = {"weighted/a/x": torch.tensor(3.0), "weighted/b/y": torch.tensor(1.0)}
    >>> log = round_log(values, {}, {"generator": 0.1}, {})
    >>> log["train/share/a/x"], log["train/lr/generator"]
    (0.75, 0.1)
    """
    numbers = torch.stack([value.detach().float() for value in values.values()]).tolist()
    log = {f"train/{key}": number for key, number in zip(values, numbers, strict=True)}
    weighted = {key: abs(value) for key, value in log.items() if key.startswith("train/weighted/")}
    whole = sum(weighted.values())
    if whole > 0:
        log |= {key.replace("/weighted/", "/share/"): value / whole for key, value in weighted.items()}
    log |= {f"train/{key}": float(value) for key, value in norms.items()}
    log |= {f"train/lr/{key}": rate for key, rate in rates.items()}
    return log | {f"train/output_gradient/{key}": value for key, value in output_gradients.items()}
