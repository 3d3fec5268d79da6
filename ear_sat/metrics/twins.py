"""The metrics as ``torchmetrics.Metric``: what a Lightning module adds up over batches and ranks, and logs.

>>> import torch
>>> metrics = pair_metrics(["si_sdr_db", "stft_distance"], sample_rate=44100, prefix="val/")
>>> target = torch.randn(2, 2, 8192, generator=torch.Generator().manual_seed(0))
>>> metrics.update(0.9 * target, target)
>>> {name: round(value.item(), 3) for name, value in metrics.compute().items()}
{'val/si_sdr_db': 118.2..., 'val/stft_distance': 0.2...}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from ..config import check_choice
from .registry import FROZEN, KNOWN, evaluate_clips


class PairMetric(Metric):
    """The mean of a pair metric over all clips where it is defined, of all batches and ranks.

    Args:
        name: key of :data:`ear_sat.metrics.KNOWN`.
        sample_rate: Hz.
        options: torchmetrics' own, such as ``dist_sync_on_step``.

    Raises:
        UserError: an unknown name.
    """

    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, name: str, sample_rate: int, **options: Any) -> None:
        super().__init__(**options)
        self.name, self.sample_rate = check_choice("metric", name, KNOWN), sample_rate
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]  # a class attribute there, and here every name's own
        """Whether more is better."""
        return KNOWN[self.name].higher_is_better

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds a batch: estimates and references, (batch, channels, time), full scale 1."""
        values = evaluate_clips(preds.detach().cpu(), target.detach().cpu(), self.sample_rate, [self.name])[self.name]
        defined = values[~values.isnan()].to(self.total)
        self.total = self.total + defined.sum()
        self.count = self.count + len(defined)

    def compute(self) -> Tensor:
        """The mean so far; NaN if no clip had a value."""
        return self.total / self.count


def pair_metrics(names: Iterable[str] = FROZEN, *, sample_rate: int, prefix: str | None = None) -> MetricCollection:
    """Several of them, for ``self.log_dict(metrics)``.

    Args:
        names: keys of :data:`ear_sat.metrics.KNOWN`.
        sample_rate: Hz.
        prefix: of the names in the log.

    Raises:
        UserError: an unknown name.
    """
    return MetricCollection(
        {name: PairMetric(name, sample_rate) for name in names}, prefix=prefix, compute_groups=False
    )
