"""Validation metrics named in ``training.eval_loss_configs``: ours by their function names, and a host's keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..config import choice_error
from ..errors import UserError
from ..metrics import METRICS, evaluate_pair
from . import registry
from .ranks import over_ranks


class Validation:
    """Collects metrics clip by clip and averages them over clips and ranks; undefined values are left out.

    Args:
        configs: metric name → config. Our metrics take no config; ``{}`` selects them.
        sample_rate: Hz.

    Raises:
        UserError: an unknown metric.
    """

    def __init__(self, configs: Mapping[str, Any], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.names = list(configs)
        for name in self.names:
            if name not in METRICS and name not in registry.METRICS:
                raise choice_error("metric in training.eval_loss_configs", name, [*METRICS, *registry.METRICS])
            if name in METRICS and configs[name]:
                raise UserError(f"training.eval_loss_configs.{name} takes no config; write {{}}")
        self._ours = [name for name in self.names if name in METRICS]
        self._others = {name: self._build(name, configs[name] or {}) for name in self.names if name not in METRICS}
        self._sums = dict.fromkeys(self.names, 0.0)
        self._counts = dict.fromkeys(self.names, 0)

    def _build(self, name: str, config: Mapping[str, Any]) -> Callable[[Tensor, Tensor], Any]:
        try:
            return registry.METRICS[name](config, self.sample_rate)
        except TypeError as error:
            raise UserError(f"training.eval_loss_configs.{name} does not fit the host's metric: {error}") from error

    def add(self, preds: Tensor, target: Tensor) -> None:
        """Measures a batch (batch, channels, time)."""
        preds, target = preds.detach().float().cpu(), target.detach().float().cpu()
        for i in range(len(preds)):
            values: dict[str, float] = evaluate_pair(preds[i], target[i], self.sample_rate, names=self._ours)
            for name, metric in self._others.items():
                values[name] = float(metric(preds[i : i + 1], target[i : i + 1]))
            for name, value in values.items():
                if math.isfinite(value):
                    self._sums[name] += value
                    self._counts[name] += 1

    def finish(self, device: torch.device) -> dict[str, float]:
        """Means since the last call, over all ranks; metrics without a defined value are missing."""
        sums, counts = (
            over_ranks([values[name] for name in self.names], device, "sum") for values in (self._sums, self._counts)
        )
        self._sums = dict.fromkeys(self.names, 0.0)
        self._counts = dict.fromkeys(self.names, 0)
        return {name: total / count for name, total, count in zip(self.names, sums, counts, strict=True) if count}
