"""A codec's encoder and decoder as networks of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..models import Autoencoder, Bottleneck, Codebooks, Decoder, Encoder, Foreign
from ..models.measured_reach import measured_decoder, measured_encoder
from ..models.receptive_field import Reach


class Codes(Bottleneck):
    """Of a network that has quantised already, or gives means: its latents are what it gives, and no draw."""

    def __init__(self, codebooks: Codebooks | None) -> None:
        super().__init__()
        self.codebooks = codebooks

    def encode(self, x: Tensor, return_info: bool = False, **_: Any) -> Any:
        return (x, {"mean": x, "std": torch.zeros_like(x)}) if return_info else x

    def decode(self, latents: Tensor) -> Tensor:
        return latents


def convolutional_reaches(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], channels: int, latent_dim: int, hop: int
) -> tuple[Reach, Reach]:
    """How far an encoder and a decoder reach, each with a gradient from its output to its input.

    Raises:
        UserError: one of them reaches so far that it cannot be computed in chunks.
    """
    reaches = measured_encoder(encode, channels, hop), measured_decoder(decode, latent_dim, hop)
    if reaches[0] is None or reaches[1] is None:
        raise UserError("its samples depend on too much of the signal around them for it to be computed in chunks")
    return reaches[0], reaches[1]


def autoencoder_of(
    module: nn.Module,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    encoder_reach: Reach,
    decoder_reach: Reach,
    *,
    exact: bool,
    latent_dim: int,
    sample_rate: int,
    channels: int,
    codebooks: Codebooks | None,
) -> Autoencoder:
    """An autoencoder of ours.

    Args:
        module: has the parameters.
        encode: audio (batch, channels, time) → latents or codes (batch, latent_dim, frames), float32.
        decode: the way back; samples that it lacks at the end of the signal become zeros.
        encoder_reach, decoder_reach: of both, for chunks.
        exact: nothing beyond them has an influence.
        latent_dim: channels of the latents, or codes per frame.
        sample_rate: Hz.
        channels: audio channels; a mono codec is applied to each.
        codebooks: of one that quantises.
    """
    hop, name = decoder_reach.stride, type(module).__name__

    def decode_whole(z: Tensor) -> Tensor:
        audio, samples = decode(z)[..., : z.shape[-1] * hop], z.shape[-1] * hop
        return F.pad(audio, (0, samples - audio.shape[-1]))

    return Autoencoder(
        Encoder.of([Foreign(f"{name}'s encoder", encode, [module], [encoder_reach], exact)], channels, latent_dim),
        Decoder.of(
            [Foreign(f"{name}'s decoder", decode_whole, [module], [decoder_reach], exact)], channels, latent_dim
        ),
        Codes(codebooks),
        latent_dim,
        hop,
        sample_rate,
        channels,
    )
