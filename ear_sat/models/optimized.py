"""Inference mode: the networks with everything settled that training has to keep open.

Weight norm is folded; the channels lie last in memory, where convolution libraries are at their best; transposed
convolutions are in polyphase form; activations replace their input; convolutions compute in the precision asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compiling import can_compile
from ..compute import PRECISIONS, keep_freed_memory, warn_of_slow_bf16
from ..config import check_choice
from ..errors import UserError
from .foreign import Foreign
from .layers import Residual, fold_weight_norm
from .oobleck import Decoder, Encoder
from .receptive_field import Reach, output_length, reaches
from .snake import SnakeBeta, constants, periodic

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)
#: Convolution → type in which it is computed, type of its result.
_Types = dict[nn.Module, tuple[torch.dtype, torch.dtype]]


def optimize_for_inference(model: Model, precision: str = "32", compiled: bool = False) -> Model:
    """Prepares the encoders and decoders in ``model`` for fast inference, in place: no training or saving after that.

    With ``32`` the output is the same to rounding. With ``bf16`` and ``16`` the first and the last convolution of a
    network stay in float32, so that neither audio nor latents are rounded to 8 or 11 bits, and so do posterior and
    transformer. On the CPU the process keeps the memory it frees; see :func:`ear_sat.compute.keep_freed_memory`.

    Args:
        model: an autoencoder or a part of one, on its device.
        precision: ``32``, ``bf16`` or ``16``.
        compiled: compile the networks on first use, for any length; see :func:`ear_sat.compiling.can_compile`.

    Returns:
        ``model``.

    Raises:
        UserError: ``precision`` is none of these, or the model has networks that are not ours and it is not ``32``.
    """
    check_choice("precision", precision, PRECISIONS)
    dtype = getattr(torch, PRECISIONS[precision])
    networks = [m for m in model.modules() if isinstance(m, Encoder | Decoder)]
    foreign = [m for network in networks for m in network.layers if isinstance(m, Foreign)]
    if foreign and precision != "32":
        raise UserError(f"{foreign[0].name} is computed in float32 only; leave out --precision {precision}")
    for network in networks:
        fold_weight_norm(network.layers)
        ours = [layer for layer in network.layers if not isinstance(layer, Foreign)]
        if not ours:
            continue
        convolutions = [m for o in ours for m in o.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
        if not convolutions:
            raise ValueError("the model is prepared for inference already")
        types: _Types = {convolutions[0]: (torch.float32, dtype), convolutions[-1]: (torch.float32, torch.float32)}
        _replace(network.layers, dtype, types)
    device = next(model.parameters()).device.type
    if device == "cpu" and precision == "16":
        logger.warning("a CPU computes in precision 16 by software, many times slower than in 32; take bf16 or 32")
    if device == "cpu" and precision == "bf16":
        warn_of_slow_bf16()
    if compiled and can_compile(device):
        for network in networks:
            network.run = _compiled(network.run)  # type: ignore[method-assign,assignment]
    if device == "cpu":  # from now on: what was freed above has gone back to the system
        keep_freed_memory()
    return model


def _compiled(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``run`` compiled for any length: slices are copied, as their strides would have it compiled anew."""
    compiled = torch.compile(run, dynamic=True)
    return lambda x: compiled(x.contiguous())


def _replace(module: nn.Module, dtype: torch.dtype, types: _Types) -> None:
    # Not named_children(): a residual unit holds its one activation twice, and the first must not replace its input.
    for name, child in module._modules.items():
        if child is None or isinstance(child, Foreign):
            continue
        if isinstance(child, nn.Conv1d):
            module._modules[name] = _Convolution(child, *types.get(child, (dtype, dtype)))
        elif isinstance(child, nn.ConvTranspose1d):
            module._modules[name] = _Upsampling(child, *types.get(child, (dtype, dtype)))
        elif isinstance(child, SnakeBeta):
            module._modules[name] = _Periodic(child)
        elif type(child).__module__.startswith("alias_free_torch"):
            child.register_forward_pre_hook(_to_float32)  # its filters are float32
            _replace(child, dtype, types)
        else:
            _replace(child, dtype, types)
    if isinstance(module, Residual) and isinstance(module.layers[0], _Periodic):
        module.layers[0].inplace = False


def _to_float32(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.float() for x in inputs)


class _Convolution(nn.Module):
    """A 1-D convolution, computed as a 2-D one of height 1 with the channels last in memory.

    Args:
        conv: what it replaces.
        dtype: in which it is computed; a narrow convolution with an even kernel is in float32.
        out_dtype: of the result.

    Shapes: (batch, channels, time) in any layout → (batch, channels, frames), contiguous when transposed.
    """

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype, out_dtype: torch.dtype) -> None:
        super().__init__()
        if conv.in_channels < 16 and conv.kernel_size[0] % 2 == 0:
            # In bfloat16 oneDNN 3.7 (torch 2.7 and 2.8) gives noise for many of these where the CPU has AMX.
            dtype = torch.float32
        self.dtype, self.out_dtype, self.reaches = dtype, out_dtype, reaches(conv)
        self.kernel = _constant(_kernel(conv.weight), dtype)
        self.bias = None if conv.bias is None else _constant(conv.bias, dtype)
        padding: Any = conv.padding if isinstance(conv.padding, str) else (0, *conv.padding)
        self.options = {"stride": (1, *conv.stride), "padding": padding, "dilation": (1, *conv.dilation)}

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x.to(self.dtype).unsqueeze(2), self.kernel, self.bias, **self.options)
        return y.squeeze(2).to(self.out_dtype)


class _Upsampling(nn.Module):
    """A transposed 1-D convolution as a convolution at the lower rate, which gives the phases of each input sample.

    With the channels last in memory the phases, side by side, are successive samples, so that nothing has to be
    interleaved (polyphase form; Vaidyanathan, 1990). Arguments and shapes as of :class:`_Convolution`.
    """

    def __init__(self, conv: nn.ConvTranspose1d, dtype: torch.dtype, out_dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.out_dtype, self.reaches = dtype, out_dtype, reaches(conv)
        channels, out_channels, taps = conv.weight.shape
        (stride,) = conv.stride
        steps = -(-taps // stride)  # taps of each phase
        # y[n·stride + p] = Σ_j x[n − j] · w[p + j·stride]: for each phase p a convolution, the latest tap first.
        weight = F.pad(conv.weight, (0, steps * stride - taps)).view(channels, out_channels, steps, stride).flip(2)
        weight = weight.permute(3, 1, 0, 2).reshape(stride * out_channels, channels, steps)
        self.kernel = _constant(_kernel(weight), dtype)
        self.bias = None if conv.bias is None else _constant(conv.bias.repeat(stride), dtype)
        self.steps, self.out_channels, self.cropped = steps, out_channels, int(conv.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype).unsqueeze(2)
        phases = F.conv2d(x, self.kernel, self.bias, padding=(0, self.steps - 1)).squeeze(2)
        samples = phases.transpose(1, 2).reshape(len(x), -1, self.out_channels).transpose(1, 2)
        return samples.narrow(2, self.cropped, output_length(self.reaches, x.shape[-1])).to(self.out_dtype)


class _Periodic(nn.Module):
    """SnakeBeta with its exponentials and its division done; the result replaces the input unless told otherwise."""

    def __init__(self, snake: SnakeBeta) -> None:
        super().__init__()
        frequency, height = constants(snake.alpha, snake.beta, torch.float32)
        self.frequency, self.height = _constant(frequency, torch.float32), _constant(height, torch.float32)
        self.inplace = True
        self.reaches: list[Reach] = []

    def forward(self, x: Tensor) -> Tensor:
        return periodic(x, self.frequency, self.height, self.inplace)


def _kernel(weight: Tensor) -> Tensor:
    """(out, in, taps) → (out, in, 1, taps), channels_last."""
    return weight.detach().unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _constant(value: Tensor, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(value.detach().to(dtype), requires_grad=False)
