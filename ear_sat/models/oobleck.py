"""The convolutional encoder and decoder of εar-VAE (the Oobleck layout of stable-audio-tools), release-exact."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..compute import autocast_rounds, outside_autocast
from ..config import build
from ..errors import UserError
from ..value_types import ArgumentsOf, OneOf, Size
from .layers import WNConv1d, activation, downsampling, residual_units, upsampling
from .transformer import Transformer

#: The 44.1 kHz release's downsampling per block: 1024 samples per latent frame.
DEFAULT_STRIDES = (2, 4, 4, 4, 8)
Checkpointing = bool | Annotated[str, OneOf(("auto",))]


def _check_shape(c_mults: Sequence[int], strides: Sequence[int]) -> None:
    if not c_mults or len(c_mults) != len(strides):
        raise UserError(f"c_mults and strides need the same length, at least 1; got {len(c_mults)} and {len(strides)}")
    if any(int(v) != v or v < 1 for v in (*c_mults, *strides)):
        raise UserError(f"c_mults and strides must be whole numbers of at least 1; got {c_mults} and {strides}")


class _Blocks(nn.Module):
    """A chain of layers whose blocks can be recomputed in the backward pass instead of being kept.

    ``gradient_checkpointing`` "auto" is false until the training wrapper has decided and set it.
    """

    #: Layers at the end that autocast does not reach.
    unrounded_layers = 0

    def __init__(self, layers: list[nn.Module], gradient_checkpointing: bool | str) -> None:
        if not (isinstance(gradient_checkpointing, bool) or gradient_checkpointing == "auto"):
            raise UserError(f'gradient_checkpointing must be true, false or "auto", not {gradient_checkpointing!r}')
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.gradient_checkpointing = gradient_checkpointing

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers that checkpointing recomputes."""
        return [layer for layer in self.layers if isinstance(layer, Block)]

    def unrounded(self, compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``compute(x)``, outside of autocast in eval mode and where no parameter is trained.

        Such results are heard, measured and encoded for good.
        """
        # Asked first, because without autocast there is nothing to look through the parameters for.
        if autocast_rounds(x.device.type) and not (
            self.training and True in [p.requires_grad for p in self.parameters()]
        ):
            return self._outside_autocast(compute, x)
        return compute(x)

    def run(self, x: Tensor) -> Tensor:
        """All layers; :attr:`unrounded_layers` at the end outside of autocast, and so is the result."""
        start = len(self.layers) - self.unrounded_layers
        x = self._chain(x, 0, start)
        return self._outside_autocast(functools.partial(self._chain, first=start), x)

    def _outside_autocast(self, compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        device = x.device.type
        if not autocast_rounds(device):
            return compute(x)
        dtype = ([p.dtype for p in self.parameters()] or [torch.float32])[0]
        with outside_autocast(device):
            return compute(x.to(dtype))

    def _chain(self, x: Tensor, first: int, last: int | None = None) -> Tensor:
        recomputing = self.gradient_checkpointing is True and self.training and torch.is_grad_enabled()
        for layer in list(self.layers)[first:last]:
            x = checkpoint(layer, x, use_reentrant=False) if recomputing and isinstance(layer, Block) else layer(x)
        return x


class Block(nn.Module):
    """A chain of layers that checkpointing recomputes."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Encoder(_Blocks):
    """Audio to encoder output: conv7, blocks of [3 residual units, activation, strided conv], activation, conv3.

    Args:
        in_channels: audio channels.
        channels: width before the multipliers.
        c_mults: width multiplier of each block.
        strides: downsampling of each block; their product is the hop length in samples.
        latent_dim: output channels: mean and scale together, so twice the model's latent dimension.
        use_snake: SnakeBeta (release) or ELU.
        antialias_activation: antialias the final activation.
        bias: convolutions have a bias.
        gradient_checkpointing: recompute each block in the backward pass: less memory, about a third more time; "auto"
            leaves it to the training wrapper, which turns it on where memory is short.

    Shapes: (batch, in_channels, time) → (batch, latent_dim, ⌊time / hop⌋). Autocast rounds it in training only.

    >>> Encoder(2, 8, [1, 2], [3, 5], latent_dim=16)(torch.zeros(1, 2, 60)).shape
    torch.Size([1, 16, 4])
    """

    def __init__(
        self,
        in_channels: Size = 2,
        channels: Size = 128,
        c_mults: Sequence[Size] = (1, 2, 4, 8, 16),
        strides: Sequence[Size] = DEFAULT_STRIDES,
        latent_dim: Size = 128,
        use_snake: bool = True,
        antialias_activation: bool = False,
        bias: bool = True,
        gradient_checkpointing: Checkpointing = False,
    ) -> None:
        _check_shape(c_mults, strides)
        widths = [channels, *(m * channels for m in c_mults)]
        layers: list[nn.Module] = [WNConv1d(in_channels, widths[0], 7, padding=3, bias=bias)]
        for width, next_width, stride in zip(widths, widths[1:], strides, strict=False):
            layers.append(
                Block(
                    [
                        *residual_units(width, use_snake=use_snake, bias=bias),
                        activation(width, use_snake=use_snake),
                        downsampling(width, next_width, stride, bias=bias),
                    ]
                )
            )
        layers += [
            activation(widths[-1], use_snake=use_snake, antialias=antialias_activation),
            WNConv1d(widths[-1], latent_dim, 3, padding=1, bias=bias),
        ]
        super().__init__(layers, gradient_checkpointing)
        self.in_channels, self.latent_dim = in_channels, latent_dim

    @classmethod
    def of(cls, layers: list[nn.Module], in_channels: int, latent_dim: int) -> Encoder:
        """An encoder of other layers, each of which :func:`.receptive_field.reaches` knows."""
        encoder = cls.__new__(cls)
        _Blocks.__init__(encoder, layers, gradient_checkpointing=False)
        encoder.in_channels, encoder.latent_dim = in_channels, latent_dim
        return encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.unrounded(self.run, x)


class Decoder(_Blocks):
    """Latents to audio: [transformer], conv7, mirrored blocks with transposed convolutions, activation, conv7.

    Args:
        out_channels: audio channels.
        channels, c_mults, strides: as in :class:`Encoder`, in the encoder's order.
        latent_dim: input channels.
        use_snake: SnakeBeta (release) or ELU.
        antialias_activation: antialias the activations of the blocks and the final one (not the residual units').
        use_nearest_upsample: nearest-neighbour upsampling and a convolution instead of a transposed convolution.
        final_tanh: bound the output to ±1.
        transformer: ``{"depth": 2, "dim_heads": 32}`` for a RoPE transformer over the latent sequence; None for none.
        bias: convolutions have a bias (the last one never has).
        gradient_checkpointing: as in :class:`Encoder`.

    Shapes: (batch, latent_dim, frames) → (batch, out_channels, frames · hop); a transposed convolution of odd stride
    gives one sample less at its own rate.

    Autocast rounds it in training only, and not in its last block and after: there a half type would round the audio
    itself, and with it what the losses see of quiet bins.

    >>> Decoder(2, 8, [1, 2], [2, 4], latent_dim=32, transformer={"depth": 1})(torch.zeros(1, 32, 5)).shape
    torch.Size([1, 2, 40])
    """

    def __init__(
        self,
        out_channels: Size = 2,
        channels: Size = 128,
        c_mults: Sequence[Size] = (1, 2, 4, 8, 16),
        strides: Sequence[Size] = DEFAULT_STRIDES,
        latent_dim: Size = 64,
        use_snake: bool = True,
        antialias_activation: bool = False,
        use_nearest_upsample: bool = False,
        final_tanh: bool = False,
        transformer: Annotated[Mapping[str, Any], ArgumentsOf(Transformer, without=("dim",))] | None = None,
        bias: bool = True,
        gradient_checkpointing: Checkpointing = False,
    ) -> None:
        _check_shape(c_mults, strides)
        widths = [channels, *(m * channels for m in c_mults)]
        layers: list[nn.Module] = [WNConv1d(latent_dim, widths[-1], 7, padding=3, bias=bias)]
        for width, next_width, stride in zip(widths[::-1], widths[-2::-1], reversed(strides), strict=False):
            layers.append(
                Block(
                    [
                        activation(width, use_snake=use_snake, antialias=antialias_activation),
                        upsampling(width, next_width, stride, nearest=use_nearest_upsample, bias=bias),
                        *residual_units(next_width, use_snake=use_snake, bias=bias),
                    ]
                )
            )
        layers += [
            activation(widths[0], use_snake=use_snake, antialias=antialias_activation),
            WNConv1d(widths[0], out_channels, 7, padding=3, bias=False),
            nn.Tanh() if final_tanh else nn.Identity(),
        ]
        super().__init__(layers, gradient_checkpointing)
        self.out_channels, self.latent_dim = out_channels, latent_dim
        self.unrounded_layers = 4  # the last block, activation, convolution, bound
        self.transformers = (
            None
            if transformer is None
            else build("decoder.config.transformer", Transformer, transformer, dim=latent_dim)
        )

    @classmethod
    def of(
        cls, layers: list[nn.Module], out_channels: int, latent_dim: int, transformers: Transformer | None = None
    ) -> Decoder:
        """A decoder of other layers, each of which :func:`.receptive_field.reaches` knows."""
        decoder = cls.__new__(cls)
        _Blocks.__init__(decoder, layers, gradient_checkpointing=False)
        decoder.out_channels, decoder.latent_dim, decoder.transformers = out_channels, latent_dim, transformers
        return decoder

    def forward(self, z: Tensor) -> Tensor:
        return self.unrounded(self._attend_and_run, z)

    def _attend_and_run(self, z: Tensor) -> Tensor:
        return self.run(z if self.transformers is None else self.transformers(z))
