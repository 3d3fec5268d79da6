"""The host's Oobleck networks as ours, layer for layer, with the same parameters under the same keys.

They differ in nothing but their residual units, which have an activation each in two places where ours share one. As
ours they are computed in exact chunks and have our inference mode.
"""

from __future__ import annotations

from typing import cast

from alias_free_torch import Activation1d
from torch import nn

from ..models.layers import Residual, WNConv1d, WNConvTranspose1d
from ..models.oobleck import Block
from ..models.snake import SnakeBeta


def is_oobleck(network: nn.Module) -> bool:
    """Whether it is an encoder or a decoder that :func:`oobleck_layers` can take apart."""
    from stable_audio_tools.models.autoencoders import OobleckDecoder, OobleckEncoder

    return isinstance(network, OobleckEncoder | OobleckDecoder)


def oobleck_layers(network: nn.Module) -> list[nn.Module]:
    """The layers of the host's encoder or decoder as ours; it cannot be used any more.

    Raises:
        TypeError: a layer that the known versions of the host do not have.
    """
    return [_ours(layer) for layer in cast(nn.Sequential, network.layers)]


def _ours(layer: nn.Module) -> nn.Module:
    from stable_audio_tools.models import autoencoders as host  # which has these names in every version

    if isinstance(layer, nn.Sequential):
        return nn.Sequential(*map(_ours, layer))
    if isinstance(layer, host.EncoderBlock | host.DecoderBlock):
        return Block(oobleck_layers(layer))
    if isinstance(layer, host.ResidualUnit):
        return Residual(*oobleck_layers(layer))
    if isinstance(layer, nn.Conv1d):
        return WNConv1d.of(layer)
    if isinstance(layer, nn.ConvTranspose1d):
        return WNConvTranspose1d.of(layer)
    if isinstance(layer, host.SnakeBeta):
        return _snake(layer)
    if isinstance(layer, Activation1d):
        layer.act = _ours(layer.act)
        return layer
    if isinstance(layer, nn.ELU | nn.Tanh | nn.Identity | nn.Upsample):
        return layer
    raise TypeError(f"an Oobleck network of a known host has no {type(layer).__name__}")


def _snake(layer: nn.Module) -> SnakeBeta:
    alpha, beta = cast(nn.Parameter, layer.alpha), cast(nn.Parameter, layer.beta)
    snake = SnakeBeta(len(alpha))
    snake.alpha, snake.beta = alpha, beta
    return snake
