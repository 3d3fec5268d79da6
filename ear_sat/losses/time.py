"""The host's time-domain terms: mean absolute and mean squared error of the waveform."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class L1Term(nn.Module):
    """Loss type ``l1``: mean |x̂ − x| over samples, channels and clips. Part ``l1``."""

    PARTS = ("l1",)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(preds, target)


class L2Term(nn.Module):
    """Loss type ``l2``: mean (x̂ − x)² over samples, channels and clips. Part ``l2``."""

    PARTS = ("l2",)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(preds, target)
