"""How far the outputs of a convolutional network reach into its input, read off its layers.

Every layer that mixes neighbouring samples is described by one :class:`Reach`; a network is the list of its layers'
reaches in the order of the signal. :func:`inputs_of` follows a range of outputs back to the inputs they depend on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from .layers import Residual, WNConv1d, WNConvTranspose1d
from .oobleck import Block, Decoder, Encoder
from .snake import SnakeBeta


@dataclass(frozen=True)
class Reach:
    """A convolution along time, without its values.

    Args:
        span: samples from the first to the last tap.
        stride: input samples per output sample, or outputs per input where ``transposed``.
        left, right: samples of padding (of cropping, where ``transposed``) at either end.
        transposed: an upsampling layer.
    """

    span: int
    stride: int = 1
    left: int = 0
    right: int = 0
    transposed: bool = False

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """The range of inputs on which the outputs ``start`` … ``stop`` − 1 depend, counting those of the padding."""
        if not self.transposed:
            return start * self.stride - self.left, (stop - 1) * self.stride - self.left + self.span
        first = -((self.span - 1 - self.left - start) // self.stride)  # rounded up
        return first, (stop - 1 + self.left) // self.stride + 1

    def length(self, inputs: int) -> int:
        """The number of outputs, 0 where the input is too short."""
        if inputs < 1:
            return 0
        if self.transposed:
            return max(0, (inputs - 1) * self.stride + self.span - self.left - self.right)
        return max(0, (inputs + self.left + self.right - self.span) // self.stride + 1)


def reaches(network: nn.Module) -> list[Reach]:
    """The reach of each layer of an encoder or of a decoder without its transformer, which sees everything.

    Raises:
        TypeError: a layer of unknown kind.

    >>> from ear_sat.models import Encoder
    >>> reaches(Encoder(2, 4, [1], [3]))[0]
    Reach(span=7, stride=1, left=3, right=3, transposed=False)
    """
    from alias_free_torch import Activation1d

    if hasattr(network, "reaches"):  # a layer of inference mode knows its own
        return cast("list[Reach]", network.reaches)
    if isinstance(network, nn.Sequential):
        return [reach for layer in network for reach in reaches(layer)]
    if isinstance(network, Encoder | Decoder | Block | Residual):
        # A residual's bypass lies within the reach of its convolutions, which are padded on both sides.
        return reaches(network.layers)
    if isinstance(network, WNConv1d | nn.Conv1d):
        return [_convolution(network)]
    if isinstance(network, WNConvTranspose1d | nn.ConvTranspose1d):
        return [_transposed(network)]
    if isinstance(network, nn.Upsample) and network.mode == "nearest":
        factor = int(cast(float, network.scale_factor))
        return [Reach(factor, factor, transposed=True)]
    if isinstance(network, Activation1d):
        return [_antialias_up(network), *reaches(cast(nn.Module, network.act)), _antialias_down(network)]
    if isinstance(network, SnakeBeta | nn.ELU | nn.Tanh | nn.Identity):
        return []
    raise TypeError(f"the reach of a {type(network).__name__} along time is not known; decode and encode unchunked")


def _span(conv: WNConv1d | WNConvTranspose1d | nn.Conv1d | nn.ConvTranspose1d) -> int:
    weight = conv.weight_v if isinstance(conv, WNConv1d | WNConvTranspose1d) else conv.weight
    return (weight.shape[-1] - 1) * conv.dilation[0] + 1


def _convolution(conv: WNConv1d | nn.Conv1d) -> Reach:
    span = _span(conv)
    if conv.padding == "same":  # torch puts the odd sample on the right
        left = (span - 1) // 2
        return Reach(span, conv.stride[0], left, span - 1 - left)
    padding = 0 if conv.padding == "valid" else int(conv.padding[0])
    return Reach(span, conv.stride[0], padding, padding)


def _transposed(conv: WNConvTranspose1d | nn.ConvTranspose1d) -> Reach:
    padding = int(conv.padding[0])
    extra = conv.output_padding[0] if isinstance(conv, nn.ConvTranspose1d) else 0
    return Reach(_span(conv), conv.stride[0], padding, padding - extra, transposed=True)


# alias-free-torch repeats the edge samples, then filters, then crops; the repeated samples add no further influence.
def _antialias_up(activation: Any) -> Reach:
    up = activation.upsample
    repeated = up.pad * up.stride
    return Reach(up.kernel_size, up.stride, up.pad_left - repeated, up.pad_right - repeated, transposed=True)


def _antialias_down(activation: Any) -> Reach:
    down = activation.downsample.lowpass
    return Reach(down.kernel_size, down.stride, down.pad_left, down.pad_right)


def inputs_of(layers: Sequence[Reach], start: int, stop: int) -> tuple[int, int]:
    """The range of a network's inputs on which its outputs ``start`` … ``stop`` − 1 depend.

    The range is not cut to the signal: below 0 and beyond its end lies padding.

    >>> inputs_of([Reach(7, left=3, right=3), Reach(4, 2, 1, 1)], 0, 1)
    (-4, 6)
    """
    for layer in reversed(layers):
        start, stop = layer.inputs(start, stop)
    return start, stop


def output_length(layers: Iterable[Reach], inputs: int) -> int:
    """Number of outputs of a network for a number of inputs; 0 where that is too short for it."""
    for layer in layers:
        inputs = layer.length(inputs)
    return inputs


def hop_length(layers: Iterable[Reach]) -> int:
    """Samples per latent frame of an encoder or a decoder.

    >>> hop_length([Reach(4, 2, 1, 1), Reach(10, 5, 3, 3)])
    10
    """
    up = math.prod(layer.stride for layer in layers if layer.transposed)
    down = math.prod(layer.stride for layer in layers if not layer.transposed)
    return max(up, down) // min(up, down)


def context_frames(network: nn.Module) -> tuple[int, int]:
    """Latent frames to the left and right of one frame that its neighbours share in computing.

    For an encoder: the frames of audio needed besides a frame's own; for a decoder: the latent frames needed besides
    the one whose audio is computed.

    >>> from ear_sat.models import Decoder
    >>> context_frames(Decoder(2, 4, latent_dim=4))
    (11, 11)
    """
    layers = reaches(network)
    hop = hop_length(layers)
    if isinstance(network, Decoder):
        start, stop = inputs_of(layers, 0, hop)
        return -start, stop - 1
    start, stop = inputs_of(layers, 0, 1)
    return -(start // hop), -(-stop // hop) - 1
