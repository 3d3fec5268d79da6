"""SnakeBeta, the periodic activation x + sin²(αx)/β, one learned α and β per channel.

Source: BigVGAN (Lee et al., 2023) with log-scale parameters, as stable-audio-tools and the released weights use it.
Written as one operation with its own backward: it keeps its input and nothing else, where the plain form keeps several
full-size intermediates per call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: Keeps 1/β finite; part of the released model.
EPSILON = 1e-9


def snake_beta_reference(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """x + sin²(x·e^α)/(e^β + 1e-9), written plainly; the reference for :func:`snake_beta`."""
    a = alpha.exp().view(1, -1, 1)
    b = beta.exp().view(1, -1, 1)
    return x + (x * a).sin().square() / (b + EPSILON)


class _SnakeBeta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(x, alpha, beta)
        return _evaluate(x, alpha, beta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, alpha, beta = ctx.saved_tensors
        (grad,) = grads
        work = _working_dtype(x)
        g, v = grad.to(work), x.to(work)
        a = alpha.to(work).exp().view(1, -1, 1)
        e = beta.to(work).exp().view(1, -1, 1)
        inverse = 1 / (e + EPSILON)
        angle = v * (2 * a)
        # d/dx = 1 + (α/β)·sin 2αx;  d/dlnα = x·(α/β)·sin 2αx;  d/dlnβ = −sin²(αx)·e^β/(e^β + ε)²
        slope = angle.sin().mul_(a * inverse).mul_(g)
        grad_alpha = grad_beta = None
        if ctx.needs_input_grad[2]:
            cosine = angle.cos_().mul_(g)
            sin2 = (g.sum(dim=(0, 2)) - cosine.sum(dim=(0, 2))) / 2
            grad_beta = (-sin2 * (e * inverse.square()).flatten()).to(beta.dtype)
        if ctx.needs_input_grad[1]:
            grad_alpha = torch.mul(slope, v, out=angle).sum(dim=(0, 2)).to(alpha.dtype)
        grad_x = slope.add_(g).to(x.dtype) if ctx.needs_input_grad[0] else None
        return grad_x, grad_alpha, grad_beta


def _working_dtype(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def _evaluate(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    v = x.to(_working_dtype(x))
    sine = (v * alpha.to(v.dtype).exp().view(1, -1, 1)).sin_()
    sine.square_().mul_(1 / (beta.to(v.dtype).exp().view(1, -1, 1) + EPSILON))
    return sine.add_(v).to(x.dtype)


def snake_beta(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """x + sin²(x·e^α)/(e^β + 1e-9) per channel.

    Args:
        x: (batch, channels, time), any floating type; half types are evaluated in float32 and returned as given.
        alpha: (channels,), natural logarithm of the frequency.
        beta: (channels,), natural logarithm of the inverse height.

    Returns:
        (batch, channels, time), the type of ``x``.

    >>> zero = torch.zeros(1)
    >>> y = snake_beta(torch.tensor([[[0.0, 1.0]]]), zero, zero)
    >>> [round(v, 4) for v in y.flatten().tolist()]
    [0.0, 1.7081]
    """
    if torch.is_grad_enabled() and (x.requires_grad or alpha.requires_grad or beta.requires_grad):
        return _SnakeBeta.apply(x, alpha, beta)
    return _evaluate(x, alpha, beta)


class SnakeBeta(nn.Module):
    """:func:`snake_beta` with learned ``alpha`` and ``beta``, both starting at 0 (α = β = 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return snake_beta(x, self.alpha, self.beta)
