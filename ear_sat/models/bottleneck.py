"""The variational bottleneck: a diagonal Gaussian per latent frame."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import check_choice
from ..value_types import OneOf

#: Added to the variance before the logarithm of the KL term; the release's.
VARIANCE_EPSILON = 1e-6

SAMPLE_MODES = ("always", "training", "never")


def kl_divergence(mean: Tensor, std: Tensor) -> Tensor:
    """Twice the KL divergence of N(mean, std²) from N(0, 1): mean over batch and time of Σ_channels.

    The release's form, Σ (mean² + var − ln var − 1) with var = std² + 1e-6, without the customary ½. Evaluated in
    float32. ``mean`` and ``std`` are (batch, channels, frames); returns a scalar.

    >>> round(kl_divergence(torch.ones(1, 2, 3), torch.ones(1, 2, 3)).item(), 4)
    2.0
    """
    mean, var = mean.float(), std.float().square() + VARIANCE_EPSILON
    return (mean.square() + var - var.log() - 1).sum(1).mean()


@dataclass(frozen=True)
class Codebooks:
    """How a bottleneck quantises.

    Attributes:
        number: of codes per frame.
        size: entries of each codebook.
        frame_rate: frames per second, where they are not the latents'.
    """

    number: int
    size: int
    frame_rate: float | None = None


class Bottleneck(nn.Module, abc.ABC):
    """What an autoencoder asks of its bottleneck.

    Attributes:
        codebooks: of one that quantises; None: its latents are continuous.
    """

    codebooks: Codebooks | None = None

    @abc.abstractmethod
    def encode(self, x: Tensor, return_info: bool = False, **kwargs: Any) -> Any:
        """The encoder's output → latents, or (latents, info) with ``mean`` and ``std``, the latents' shape each."""

    @abc.abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents → the decoder's input."""


class VAEBottleneck(Bottleneck):
    """Splits the encoder's output into mean and scale, draws z = mean + softplus(scale)·noise.

    Args:
        sample: draw ``always``, in ``training`` mode only (else the posterior mean), or ``never``.

    :meth:`encode` has the host's interface; its ``info`` holds ``kl`` (scalar) and ``mean`` and ``std``
    (batch, latent_dim, frames).
    """

    is_discrete = False

    def __init__(self, sample: Annotated[str, OneOf(SAMPLE_MODES)] = "training") -> None:
        super().__init__()
        self.sample = check_choice("bottleneck sample mode", sample, SAMPLE_MODES)

    def encode(self, x: Tensor, return_info: bool = False, **_: Any) -> Any:
        """(batch, 2·latent_dim, frames) → latents (batch, latent_dim, frames), or (latents, info)."""
        mean, scale = x.chunk(2, dim=1)
        std = F.softplus(scale)
        draw = self.sample == "always" or (self.sample == "training" and self.training)
        latents = mean + std * torch.randn_like(mean) if draw else mean
        if not return_info:
            return latents
        return latents, {"kl": kl_divergence(mean, std), "mean": mean, "std": std}

    def decode(self, latents: Tensor) -> Tensor:
        """Latents pass unchanged."""
        return latents
