"""Building blocks of the Oobleck networks: weight-normed convolutions, activations, the residual unit."""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .snake import SnakeBeta

Normed = TypeVar("Normed", bound="_WeightNorm")


class _WeightNorm(nn.Module):
    """Parameters ``weight_g`` and ``weight_v`` of a convolution, named as by ``torch.nn.utils.weight_norm``.

    The weight is g·v/‖v‖, the norm taken over every axis but the first (Salimans & Kingma, 2016). It is recomputed in
    ``forward`` rather than kept as an attribute, so that the module can be deep-copied and holds no second copy.
    """

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d) -> None:
        super().__init__()
        # The order of the parameters is the release's: bias, weight_g, weight_v.
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach())
        weight = conv.weight.detach()
        self.weight_g = nn.Parameter(
            torch.linalg.vector_norm(weight.flatten(1), dim=1).view(-1, *[1] * (weight.ndim - 1))
        )
        self.weight_v = nn.Parameter(weight)
        self.stride: Any = conv.stride
        self.padding: Any = conv.padding
        self.dilation: Any = conv.dilation

    @classmethod
    def of(cls: type[Normed], conv: nn.Conv1d | nn.ConvTranspose1d) -> Normed:
        """The same as ``conv``, which ``torch.nn.utils.weight_norm`` has normalised, with its parameters."""
        module = cls.__new__(cls)
        _WeightNorm.__init__(module, conv)
        module.weight_g, module.weight_v = cast(nn.Parameter, conv.weight_g), cast(nn.Parameter, conv.weight_v)
        module.bias = conv.bias  # type: ignore[assignment]  # a parameter, or None
        return module

    def normed_weight(self) -> Tensor:
        if torch.compiler.is_compiling():  # whose weights may not be contiguous, as the fused backward wants them
            norm = torch.linalg.vector_norm(self.weight_v, dim=list(range(1, self.weight_v.ndim)), keepdim=True)
            return self.weight_v * (self.weight_g / norm)
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight_v.shape)}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}"


class WNConv1d(_WeightNorm):
    """Weight-normed ``torch.nn.Conv1d``; same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(nn.Conv1d(*args, **kwargs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.normed_weight(), self.bias, self.stride, self.padding, self.dilation)


class WNConvTranspose1d(_WeightNorm):
    """Weight-normed ``torch.nn.ConvTranspose1d``; same arguments. The norm is per input channel, as in the release."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(nn.ConvTranspose1d(*args, **kwargs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(x, self.normed_weight(), self.bias, self.stride, self.padding)


class WNConv2d(_WeightNorm):
    """Weight-normed ``torch.nn.Conv2d``; same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(nn.Conv2d(*args, **kwargs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.normed_weight(), self.bias, self.stride, self.padding, self.dilation)


def fold_weight_norm(model: nn.Module) -> nn.Module:
    """Replaces every weight-normed 1-D convolution of ``model`` by a plain one with the same weight, in place.

    The result cannot be trained with the same dynamics and its state dict has ``weight`` instead of ``weight_g`` and
    ``weight_v``; its output is the same to rounding. Returns ``model``.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, WNConv1d | WNConvTranspose1d):
                setattr(module, name, _plain(child))
    return model


def _plain(conv: WNConv1d | WNConvTranspose1d) -> nn.Module:
    weight = conv.normed_weight().detach()
    transposed = isinstance(conv, WNConvTranspose1d)
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    channels = (weight.shape[0], weight.shape[1]) if transposed else (weight.shape[1], weight.shape[0])
    options: dict[str, Any] = {} if transposed else {"dilation": conv.dilation}
    plain = kind(
        *channels,
        weight.shape[2],
        stride=conv.stride,
        padding=conv.padding,
        bias=conv.bias is not None,
        device="meta",
        **options,
    )
    plain.weight = nn.Parameter(weight, requires_grad=conv.weight_v.requires_grad)
    if conv.bias is not None:
        plain.bias = conv.bias
    return plain


def activation(channels: int, *, use_snake: bool, antialias: bool = False) -> nn.Module:
    """SnakeBeta or ELU; ``antialias`` evaluates it at twice the rate between low-pass filters (alias-free-torch)."""
    module: nn.Module = SnakeBeta(channels) if use_snake else nn.ELU()
    if antialias:
        from alias_free_torch import Activation1d

        module = Activation1d(activation=module)
    return module


class Residual(nn.Module):
    """x + the last of ``layers`` after the others."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        # In place: the convolution that ends the branch does not need its output in the backward pass.
        return y.add_(x) if y.dtype == x.dtype else x + y


class ResidualUnit(Residual):
    """x + conv1(act(conv7(act(x)))), the seven-tap convolution dilated.

    Both activations are one module with one α and one β, as in the release: its file holds both keys with equal values.
    """

    def __init__(self, channels: int, dilation: int, *, use_snake: bool, bias: bool = True) -> None:
        shared = activation(channels, use_snake=use_snake)
        super().__init__(
            shared,
            WNConv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation, bias=bias),
            shared,
            WNConv1d(channels, channels, 1, bias=bias),
        )


def residual_units(channels: int, *, use_snake: bool, bias: bool) -> list[nn.Module]:
    """The three residual units of a block, dilations 1, 3 and 9."""
    return [ResidualUnit(channels, dilation, use_snake=use_snake, bias=bias) for dilation in (1, 3, 9)]


def downsampling(in_channels: int, out_channels: int, stride: int, *, bias: bool) -> nn.Module:
    """Strided convolution, kernel twice the stride."""
    return WNConv1d(in_channels, out_channels, 2 * stride, stride=stride, padding=math.ceil(stride / 2), bias=bias)


def upsampling(in_channels: int, out_channels: int, stride: int, *, nearest: bool, bias: bool) -> nn.Module:
    """Transposed convolution, kernel twice the stride; or nearest-neighbour repetition and a biasless convolution."""
    if nearest:
        return nn.Sequential(
            nn.Upsample(scale_factor=stride, mode="nearest"),
            WNConv1d(in_channels, out_channels, 2 * stride, padding="same", bias=False),
        )
    return WNConvTranspose1d(
        in_channels, out_channels, 2 * stride, stride=stride, padding=math.ceil(stride / 2), bias=bias
    )
