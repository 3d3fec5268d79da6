"""How far a network that is known by what it computes only reaches: measured, or assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .receptive_field import Reach

#: Latent frames to either side of a chunk that stable-audio-tools takes by default, half of its ``overlap``.
HOST_OVERLAP = 16
#: Layers that compute outputs from a few neighbouring inputs and pass every one's gradient on.
_LOCAL = {"Conv1d", "ConvTranspose1d", "ELU", "Identity", "LeakyReLU", "Snake1d", "SnakeBeta", "Tanh", "Upsample"}
_LOCAL |= {"WaveletDecode1d", "WaveletEncode1d"}
_PROBE = 96  # latent frames


def encoder_reach(hop: int, before: int, after: int) -> Reach:
    """Of a network that makes each latent frame from the ``hop`` samples of its own and of so many frames around it.

    >>> encoder_reach(10, 1, 2).inputs(3, 4)
    (20, 60)
    """
    return Reach((before + 1 + after) * hop, hop, before * hop, after * hop)


def decoder_reach(hop: int, before: int, after: int) -> Reach:
    """The same from latents to samples.

    >>> decoder_reach(10, 1, 2).inputs(30, 40)
    (2, 6)
    """
    return Reach((before + 1 + after) * hop, hop, after * hop, before * hop, transposed=True)


def is_local(modules: Iterable[nn.Module]) -> bool:
    """Whether all that ``modules`` are made of are convolutions and functions of single values."""
    every = [m for module in modules for m in module.modules()]
    with_values = [m for m in every if next(m.children(), None) is None or next(m.parameters(False), None) is not None]
    return all(type(m).__name__ in _LOCAL for m in with_values)


def measured_encoder(compute: Callable[[Tensor], Tensor], channels: int, hop: int) -> Reach | None:
    """The reach of an encoder of audio, by the gradient of one frame; None where it goes beyond what was probed."""
    frame = _PROBE // 2
    first, last = _influence(compute, torch.randn(1, channels, _PROBE * hop), frame, frame + 1)
    before, after = frame - first // hop, -(-last // hop) - frame - 1
    return None if max(before, after) >= frame - 1 else encoder_reach(hop, max(0, before), max(0, after))


def measured_decoder(compute: Callable[[Tensor], Tensor], channels: int, hop: int) -> Reach | None:
    """The reach of a decoder of latents, by the gradient of one frame's samples."""
    frame = _PROBE // 2
    first, last = _influence(compute, torch.randn(1, channels, _PROBE), frame * hop, (frame + 1) * hop)
    before, after = frame - first, last - frame - 1
    return None if max(before, after) >= frame - 1 else decoder_reach(hop, max(0, before), max(0, after))


def _influence(compute: Callable[[Tensor], Tensor], x: Tensor, start: int, stop: int) -> tuple[int, int]:
    """The range of inputs on which the outputs ``start`` … ``stop`` − 1 depend."""
    with torch.enable_grad():
        output = compute(x.requires_grad_())[..., start:stop]
        (gradient,) = torch.autograd.grad((output * torch.randn_like(output)).sum(), x)
    places = gradient.abs().amax(dim=(0, 1)).nonzero()
    return int(places[0]), int(places[-1]) + 1
