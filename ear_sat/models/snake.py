"""SnakeBeta, the periodic activation x + sin²(αx)/β, one learned α and β per channel.

Source: BigVGAN (Lee et al., 2023) with log-scale parameters, as stable-audio-tools and the released weights use it.
Written as one operation with its own backward: it keeps its input and nothing else, where the plain form keeps several
full-size intermediates per call. On the CPU it works through the signal in blocks that stay in the cache; on a GPU its
two formulas are compiled to one kernel each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..compiling import fused

#: Keeps 1/β finite; part of the released model.
EPSILON = 1e-9
#: Elements that the CPU works on at a time: 2 MB of float32, which a core's cache holds over the passes of a formula.
BLOCK = 1 << 19


def snake_beta_reference(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """x + sin²(x·e^α)/(e^β + 1e-9), written plainly; the reference for :func:`snake_beta`."""
    a = alpha.exp().view(1, -1, 1)
    b = beta.exp().view(1, -1, 1)
    return x + (x * a).sin().square() / (b + EPSILON)


class _SnakeBeta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(x, alpha, beta)
        return periodic(x, *constants(alpha, beta, x.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, alpha, beta = ctx.saved_tensors
        needs_x, needs_alpha, needs_beta = ctx.needs_input_grad
        frequency, height = constants(alpha, beta, x.dtype)
        if x.is_cuda:
            grad_x, by_frequency, by_height = fused(_gradients)(grads[0], x, frequency, height)
        else:
            grad_x, by_frequency, by_height = _blockwise_gradients(grads[0], x, frequency, height)
        # dα = e^α d(ln α), and d(1/(e^β + ε))/dβ = −e^β/(e^β + ε)².
        grad_alpha = (by_frequency * frequency).flatten().to(alpha.dtype) if needs_alpha else None
        slope = beta.to(height.dtype).exp() * height.flatten().square()
        grad_beta = (-by_height.flatten() * slope).to(beta.dtype) if needs_beta else None
        return grad_x if needs_x else None, grad_alpha, grad_beta


def constants(alpha: Tensor, beta: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """α and 1/β, (1, channels, 1), in the type in which an input of ``dtype`` is evaluated: float32 for half types."""
    work = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    return alpha.to(work).exp().view(1, -1, 1), (1 / (beta.to(work).exp() + EPSILON)).view(1, -1, 1)


def _value(x: Tensor, frequency: Tensor, height: Tensor) -> Tensor:
    v = x.to(frequency.dtype)
    return (v + (v * frequency).sin().square() * height).to(x.dtype)


def _gradients(grad: Tensor, x: Tensor, frequency: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by x, by the frequency α and by the height 1/β, the last two summed over batch and time."""
    g, v = grad.to(frequency.dtype), x.to(frequency.dtype)
    angle = v * (2 * frequency)
    wave = angle.sin() * height * g  # d sin²(αx) = sin(2αx) d(αx), and sin² = (1 − cos 2αx)/2
    by_frequency = (wave * v).sum(dim=(0, 2), keepdim=True)
    by_height = ((1 - angle.cos()) * g).sum(dim=(0, 2), keepdim=True) / 2
    return (wave * frequency + g).to(x.dtype), by_frequency, by_height


def periodic(x: Tensor, frequency: Tensor, height: Tensor, inplace: bool = False) -> Tensor:
    """x + height · sin²(frequency · x), without a graph.

    Args:
        x: (batch, channels, time).
        frequency, height: (1, channels, 1), in the type in which it is evaluated.
        inplace: the result replaces ``x``.
    """
    if torch.compiler.is_compiling():  # the compiler fuses it with its neighbours
        return _value(x, frequency, height)
    if x.is_cuda:
        return fused(_value)(x, frequency, height)
    result = x if inplace else torch.empty_like(x)
    for v, out, f, h in _blocks(x, result, frequency, height):
        v = v.to(f.dtype)
        _add_product(v, torch.mul(v, f).sin_().square_(), h, out)
    return result


def _blockwise_gradients(grad: Tensor, x: Tensor, frequency: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`_gradients` block by block, with fewer temporaries."""
    grad_x, by_frequency, by_height = torch.empty_like(x), torch.zeros_like(frequency), torch.zeros_like(height)
    for g, v, out, f, h, bf, bh in _blocks(grad, x, grad_x, frequency, height, by_frequency, by_height):
        g, v = g.to(f.dtype), v.to(f.dtype)
        angle = v * (2 * f)
        wave = angle.sin().mul_(h).mul_(g)
        bh += (g - angle.cos_().mul_(g)).sum(dim=(0, 2), keepdim=True).div_(2)
        bf += torch.mul(wave, v, out=angle).sum(dim=(0, 2), keepdim=True)
        _add_product(g, wave, f, out)
    return grad_x, by_frequency, by_height


def _add_product(x: Tensor, a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = x + a·b; ``a`` is overwritten."""
    if out.dtype == x.dtype:
        torch.addcmul(x, a, b, out=out)
    else:  # out= would go by way of a copy whose memory lies the other way round
        out.copy_(a.mul_(b).add_(x))


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matching views of about :data:`BLOCK` elements: of tensors (batch, channels, time) and (1, channels, 1)."""
    x = tensors[0]
    # Along the axis that lies outermost in the memory, which batches aside is time in channels_last.
    dim = 2 if x.stride(1) == 1 else 1
    size = max(1, BLOCK * x.shape[dim] // max(1, x.numel()))
    blocks = (t.split(size, dim) if t.shape[dim] == x.shape[dim] else itertools.repeat(t) for t in tensors)
    yield from zip(*blocks, strict=False)


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
    if torch.compiler.is_compiling():  # the compiler fuses it with its neighbours and chooses what the backward keeps
        return _value(x, *constants(alpha, beta, x.dtype))
    if torch.is_grad_enabled() and (x.requires_grad or alpha.requires_grad or beta.requires_grad):
        return _SnakeBeta.apply(x, alpha, beta)
    return periodic(x, *constants(alpha, beta, x.dtype))


class SnakeBeta(nn.Module):
    """:func:`snake_beta` with learned ``alpha`` and ``beta``, both starting at 0 (α = β = 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return snake_beta(x, self.alpha, self.beta)
