"""Audio to the posterior of the latents: device, precision, and the readable end of what can go wrong."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from ..config import check_choice
from ..errors import UserError
from ..models import Autoencoder

PRECISIONS: dict[str, torch.dtype | None] = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}
DEFAULT_SECONDS = 30.0


def default_sample_size(sample_rate: int, hop: int) -> int:
    """About 30 s, in whole latent frames of ``hop`` samples.

    >>> default_sample_size(44100, 1024)
    1323008
    """
    return max(1, round(DEFAULT_SECONDS * sample_rate / hop)) * hop


def check_sample_size(sample_size: int | None, sample_rate: int, hop: int) -> int:
    """``sample_size``, or the default for None.

    Raises:
        UserError: it is not a whole number of latent frames.

    >>> check_sample_size(2048, 44100, 1024)
    2048
    """
    if sample_size is None:
        return default_sample_size(sample_rate, hop)
    if sample_size < 1 or sample_size % hop:
        above = max(1, math.ceil(sample_size / hop)) * hop
        nearest = f"{above - hop} or {above}" if above > hop else f"{above}"
        raise UserError(
            f"--sample-size must be a multiple of the model's hop of {hop} samples, not {sample_size}; use {nearest}"
        )
    return sample_size


def choose_device(name: str, turn: int = 0) -> torch.device:
    """The device called ``name``: "auto", "cpu", "cuda", "cuda:1", …

    Args:
        name: "auto" is CUDA where there is a GPU, else the CPU.
        turn: number of this process on its machine; "cuda" and "auto" deal the GPUs out by it.

    Raises:
        UserError: there is no such device.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}'; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(f"the device {name} was asked for, but torch sees no GPU; use --device cpu")
        if device.index is None:
            return torch.device("cuda", turn % count)
        if device.index >= count:
            raise UserError(f"there is no device {name}: torch sees {count}; use cuda:0 to cuda:{count - 1}")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("the device mps was asked for, but this machine has none; use --device cpu")
    return device


def check_precision(precision: str, device: torch.device) -> str:
    """``precision`` if it is one of :data:`PRECISIONS` and the device has it, else raises :class:`UserError`."""
    check_choice("precision", precision, PRECISIONS)
    if precision == "16" and device.type == "cpu":
        raise UserError("precision 16 needs a GPU; use 32 or bf16 on the CPU")
    return precision


def encode_posterior(model: Autoencoder, audio: Tensor, precision: str = "32") -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents.

    On GPUs since Ampere, torch computes float32 convolutions in TF32 unless told otherwise, here as in training.

    Args:
        model: in eval mode, on any device.
        audio: (batch, channels, samples) in [−1, 1], whole latent frames.
        precision: of the arithmetic; see :data:`PRECISIONS`.

    Returns:
        two of (batch, latent_dim, frames), float32, on the CPU.

    Raises:
        UserError: not enough memory.
    """
    device, dtype = next(model.parameters()).device, PRECISIONS[precision]
    with torch.inference_mode(), nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype):
        try:
            _, info = model.encode(audio.to(device), return_info=True)
            return info["mean"].float().cpu(), info["std"].float().cpu()
        except RuntimeError as error:  # torch.cuda.OutOfMemoryError is one; the CPU has no class of its own
            if not isinstance(error, torch.cuda.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
                raise
            raise UserError(
                f"the memory of {device} does not hold {len(audio)} × {audio.shape[-1]} samples; lower --batch-size, "
                "--processes or --sample-size"
            ) from None


def draw(mean: Tensor, std: Tensor, seed: int, key: str, window: int) -> Tensor:
    """A sample of the posterior whose noise depends on ``seed``, the source's ``key`` and the ``window`` alone.

    ``mean`` and ``std`` are (latent_dim, frames), float32; so is the result.
    """
    rng = np.random.default_rng([seed, int(key, 16), window])
    return mean + std * torch.from_numpy(rng.standard_normal(tuple(mean.shape), dtype=np.float32))
