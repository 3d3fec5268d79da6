"""Phase differences and their steps from bin to bin, each one operation with its gradient in closed form.

As in :mod:`.power`: a fraction of what autograd would compute and keep. Everything here can be differentiated once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .power import power_of
from .stft import FLOOR


class _PhaseDifference(torch.autograd.Function):
    """Δφ = arg(X·Y*), hence ∂/∂X = G·jX/|X|²; nothing flows to Y."""

    @staticmethod
    def forward(ctx: Any, preds: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(preds)
        (a, b), (c, d) = preds, target
        # Products rounded one by one: those of equal spectra cancel exactly.
        return torch.atan2((b * c).sub_(a * d), (a * c).add_(b * d))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (preds,) = ctx.saved_tensors
        turn = grads[0] / power_of(preds).clamp_min_(FLOOR**2)
        gradient = torch.empty_like(preds)
        torch.mul(preds[0], turn, out=gradient[1])
        torch.mul(preds[1], turn.neg_(), out=gradient[0])
        return gradient, None


def phase_difference(preds: Tensor, target: Tensor) -> Tensor:
    """Phase by which the estimate is ahead, radians in [−π, π].

    Where the estimate is below the floor, −100 dBFS, its gradient is that at the floor, so that it is finite at 0.

    Args:
        preds, target: real and imaginary parts, (2, ...); gradients do not flow to the target.

    >>> ahead, reference = torch.tensor([0.0, 2.0]), torch.tensor([3.0, 0.0])  # 2j and 3
    >>> round(phase_difference(ahead, reference).item(), 4)
    1.5708
    """
    return _PhaseDifference.apply(preds, target)


class _SummedStep(torch.autograd.Function):
    """Σ w·|Δ_i| with Δ_i = φ_(i+1) − φ_i wrapped, hence ∂/∂φ_(i+1) = G·w·sign Δ_i and the opposite for φ_i."""

    @staticmethod
    def forward(ctx: Any, angle: Tensor, weight: Tensor, dim: int) -> Tensor:
        step = angle.diff(dim=dim)
        step.sub_((step / (2 * torch.pi)).round_(), alpha=2 * torch.pi)
        slope = step.sign().mul_(weight)
        ctx.save_for_backward(angle, slope)
        ctx.dim = dim
        return step.mul_(slope).sum(dim=(-2, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        angle, slope = ctx.saved_tensors
        pull = slope * grads[0][..., None, None]
        steps = pull.shape[ctx.dim]
        gradient = torch.zeros_like(angle)
        gradient.narrow(ctx.dim, 1, steps).add_(pull)
        gradient.narrow(ctx.dim, 0, steps).sub_(pull)
        return gradient, None, None


def summed_step(angle: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Σ w·|Δ| over bins and frames, Δ the differences of neighbours along ``dim``, wrapped to [−π, π].

    Args:
        angle: radians, (..., bins, frames).
        weight: weights of the differences, one shorter than ``angle`` along ``dim``.
        dim: −1 (frames) or −2 (bins).

    Returns:
        Real (...).

    >>> round(summed_step(torch.tensor([[3.0, -3.0]]), torch.ones(1, 1), dim=-1).item(), 4)  # 2π − 6
    0.2832
    """
    return _SummedStep.apply(angle, weight, dim)
