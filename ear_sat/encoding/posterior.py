"""Audio to the posterior of the latents, and the readable end of what can go wrong."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..compute import true_float32
from ..errors import UserError
from ..models import Autoencoder

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


def encode_posterior(model: Autoencoder, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents.

    Args:
        model: in eval mode, on any device.
        audio: (batch, channels, samples) in [−1, 1], whole latent frames.

    Returns:
        two of (batch, latent_dim, frames), float32, on the CPU.

    Raises:
        UserError: not enough memory.
    """
    device = next(model.parameters()).device
    with torch.inference_mode(), true_float32():
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
