"""Powers of spectra and distances between them, each one operation with its gradient in closed form.

Autograd would keep, and walk back through, several times as many arrays of the size of a spectrum. Everything here can
be differentiated once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .stft import FLOOR

#: Smallest power whose square root has a gradient, which so stays finite; −200 dBFS, far below the floor.
TINY_POWER = 1e-20


class _MixedPower(torch.autograd.Function):
    """P_i = |Z_i|² with Z_i = Σ_c w_ic·X_c, hence ∂/∂X_c = Σ_i 2·w_ic·G_i·Z_i."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, mix: Sequence[Sequence[float]]) -> Tensor:
        ctx.save_for_backward(planes)
        ctx.mix = mix
        mixed = (_weighted_sum(weights, planes.mT.unbind(2)) for weights in mix)
        return torch.stack([power_of(x) for x in mixed], dim=1).mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (planes,) = ctx.saved_tensors
        gradient = torch.zeros_like(planes.mT)
        for weights, pull in zip(ctx.mix, grads[0].mT.unbind(1), strict=True):
            # Not by products of weights: where Z is the small difference of two channels, those lose it.
            mixed = _weighted_sum(weights, planes.mT.unbind(2)) * pull
            for channel, weight in zip(gradient.unbind(2), weights, strict=True):
                if weight:
                    channel.add_(mixed, alpha=2 * weight)
        return gradient.mT, None


def _weighted_sum(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    """Σ w·x; one that has weight 1 and is alone is returned as it is."""
    (w, x), *others = [(w, x) for w, x in zip(weights, tensors, strict=True) if w]
    total = x if w == 1 and not others else w * x
    for w, x in others:
        total.add_(x, alpha=w)
    return total


def power_of(planes: Tensor) -> Tensor:
    """|X|² of real and imaginary planes (2, ...), without a gradient of its own."""
    return (planes[0] * planes[0]).addcmul_(planes[1], planes[1])


def mixed_power(planes: Tensor, mix: Sequence[Sequence[float]]) -> Tensor:
    """Powers |Σ_c w_ic·X_c|² of mixtures of channels.

    Args:
        planes: real and imaginary parts, (2, batch, channels, bins, frames).
        mix: a row of weights, one per channel, for each mixture.

    Returns:
        Real (batch, mixtures, bins, frames).

    >>> left_and_right = torch.tensor([3.0, 1.0, 4.0, 0.0]).view(2, 1, 2, 1, 1)  # 3 + 4j and 1
    >>> mixed_power(left_and_right, [(1.0, 0.0), (0.5, 0.5)]).flatten()
    tensor([25.,  8.])
    """
    return _MixedPower.apply(planes, mix)


def log_magnitude_distance(preds: Tensor, target: Tensor, floor: float | Tensor = FLOOR) -> Tensor:
    """|ln max(|Ŷ|, floor) − ln max(|Y|, floor)| per bin, from powers |Ŷ|² and |Y|².

    >>> log_magnitude_distance(torch.tensor([0.25]), torch.tensor([1.0])).exp().item()
    2.0
    """
    return (preds.clamp_min(floor**2) / target.clamp_min(floor**2)).log().abs() / 2


class Distance(NamedTuple):
    """A distance of two powers P and Q per bin, and its derivative with respect to P."""

    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


def _where_above(power: Tensor, least: float | Tensor) -> Tensor:
    """The power, infinite where it is not above ``least``: what is divided by it vanishes there."""
    if isinstance(least, Tensor):
        return power.masked_fill(power <= least, float("inf"))
    return F.threshold(power, least, float("inf"))


def log_distance(floor: float | Tensor = FLOOR) -> Distance:
    """:func:`log_magnitude_distance` above a floor, a number or (..., 1, 1)."""
    return Distance(
        lambda p, q: log_magnitude_distance(p, q, floor),
        lambda p, q: (p - q).sign_().div_(_where_above(p, floor**2).mul_(2)),
    )


#: |√P − √Q|
LINEAR = Distance(
    lambda p, q: (p.sqrt() - q.sqrt()).abs(),
    lambda p, q: (p - q).sign_().div_(_where_above(p, TINY_POWER).sqrt_().mul_(2)),
)
#: (√P − √Q)²
SQUARED = Distance(
    lambda p, q: (p.sqrt() - q.sqrt()).square(),
    lambda p, q: (q / _where_above(p, TINY_POWER)).sqrt_().neg_().add_(1),
)


class _SummedDistance(torch.autograd.Function):
    """D = Σ w·d(P, Q), hence ∂D/∂P = G·w·∂d/∂P; nothing flows to Q."""

    @staticmethod
    def forward(ctx: Any, preds: Tensor, target: Tensor, distance: Distance, weight: Tensor | None) -> Tensor:
        ctx.save_for_backward(preds, target, weight)
        ctx.distance = distance
        values = distance.value(preds, target)
        return (values if weight is None else values.mul_(weight)).sum(dim=(-2, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        preds, target, weight = ctx.saved_tensors
        scale = grads[0][..., None, None]
        slope = ctx.distance.slope(preds, target)
        return slope.mul_(scale if weight is None else scale * weight), None, None, None


def summed_distance(preds: Tensor, target: Tensor, distance: Distance, weight: Tensor | None = None) -> Tensor:
    """Σ w·distance over bins and frames.

    Args:
        preds, target: powers, real (..., bins, frames); gradients do not flow to the target.
        distance: :func:`log_distance`, ``LINEAR`` or ``SQUARED``.
        weight: weights of the bins, (bins, 1); None for 1.

    Returns:
        Real (...).

    >>> summed_distance(torch.full((3, 2), 4.0), torch.ones(3, 2), LINEAR).item()
    6.0
    """
    return _SummedDistance.apply(preds, target, distance, weight)
