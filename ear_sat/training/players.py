"""What the engine asks of the two networks it trains, whoever built them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol, overload

from torch import Tensor, nn


class Trainable(Protocol):
    """What it uses of :class:`torch.nn.Module`."""

    training: bool

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def train(self, mode: bool = True) -> nn.Module: ...

    def compile(self) -> None: ...


class Autoencoder(Trainable, Protocol):
    """An autoencoder, ours or the host's; ``downsampling_ratio`` samples of audio make one latent frame.

    sample_rate: Hz.
    """

    sample_rate: int
    downsampling_ratio: int
    latent_dim: int
    in_channels: int
    out_channels: int

    @property
    def encoder(self) -> nn.Module: ...

    @property
    def decoder(self) -> nn.Module: ...

    @property
    def bottleneck(self) -> nn.Module | None: ...

    @overload
    def encode(self, audio: Tensor) -> Tensor: ...

    @overload
    def encode(self, audio: Tensor, *, return_info: Literal[True]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """(batch, channels, time) → latents (batch, latent_dim, frames), and what the bottleneck tells, such as kl."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents → (batch, channels, time)."""


class Discriminator(Trainable, Protocol):
    """A discriminator, ours or one of the host's."""

    def loss(self, reals: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The discriminator's loss, the generator's and the feature matching distance, scalars."""
