"""Encoder and decoder of a model that the host built, with its pretransform, as networks of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, first_line
from ..models import Decoder, Encoder, Foreign
from ..models.measured_reach import (
    HOST_OVERLAP,
    decoder_reach,
    encoder_reach,
    is_local,
    measured_decoder,
    measured_encoder,
)
from ..models.receptive_field import Reach
from .oobleck import is_oobleck, oobleck_layers


def adapted_encoder(model: Any) -> Encoder:
    """Audio → what the bottleneck takes, of the host's ``AudioAutoencoder``, which cannot be used any more."""
    pretransform, encoder, hop = model.pretransform, model.encoder, model.downsampling_ratio
    if (patches := _patches(pretransform)) is not None and _has_known_layers(encoder):
        return Encoder.of([*patches[0], *_known_layers(encoder)], model.in_channels, model.latent_dim)

    def filled(audio: Tensor) -> Tensor:
        encoded: Tensor = encoder(audio if pretransform is None else pretransform.encode(audio))
        return encoded

    def encode(audio: Tensor) -> Tensor:
        return filled(audio)[..., : audio.shape[-1] // hop]  # some fill up to a length of their own

    _check_ratio("encoder", lambda frames: filled(torch.zeros(1, model.in_channels, frames * hop)).shape[-1], 1, hop)

    def measured() -> Reach | None:
        return measured_encoder(encode, model.in_channels, hop)

    layer = _foreign(encode, [pretransform, encoder], measured, encoder_reach(hop, HOST_OVERLAP, HOST_OVERLAP))
    return Encoder.of([layer], model.in_channels, model.latent_dim)


def adapted_decoder(model: Any) -> Decoder:
    """What the bottleneck gives → audio, of the host's ``AudioAutoencoder``, which cannot be used any more."""
    pretransform, decoder, hop = model.pretransform, model.decoder, model.downsampling_ratio
    latents = model.latent_dim + int(getattr(model.bottleneck, "noise_augment_dim", 0))
    if (patches := _patches(pretransform)) is not None and _has_known_layers(decoder):
        layers = [*_known_layers(decoder), *patches[1]]
        return Decoder.of(layers, model.out_channels, latents, getattr(decoder, "transformers", None))

    def filled(z: Tensor) -> Tensor:
        decoded: Tensor = decoder(z)
        audio: Tensor = decoded if pretransform is None else pretransform.decode(decoded)
        return audio

    def decode(z: Tensor) -> Tensor:
        return filled(z)[..., : z.shape[-1] * hop]

    _check_ratio("decoder", lambda frames: filled(torch.zeros(1, latents, frames)).shape[-1], hop, hop)

    def measured() -> Reach | None:
        return measured_decoder(decode, latents, hop)

    layer = _foreign(decode, [decoder, pretransform], measured, decoder_reach(hop, HOST_OVERLAP, HOST_OVERLAP))
    return Decoder.of([layer], model.out_channels, latents)


@torch.no_grad()
def _check_ratio(name: str, length: Callable[[int], int], unit: int, hop: int) -> None:
    """Raises :class:`UserError` where a network that may fill up to a length of its own has another ratio than ``hop``.

    Args:
        name: of the network.
        length: of what it makes, by the number of latent frames.
        unit: of that length, to a latent frame.
        hop: samples to a latent frame, as the model config says.
    """
    wrong = f"its {name} does not have {hop} samples to a latent frame, as the downsampling_ratio in its model config"
    remedy = "says; use the config it was made with"
    try:
        made = length(2)
        full = made // unit  # as many frames leave nothing to fill up, and one more does not fit in
        right = made % unit == 0 and length(full) == made and length(full + 1) > made
    except RuntimeError as error:  # torch's, of a length that a layer cannot have
        raise UserError(f"{wrong} {remedy} ({first_line(error)})") from error
    if not right:
        raise UserError(f"{wrong} {remedy} (2 frames give {made}, where {2 * unit} were due)")


def _has_known_layers(network: nn.Module) -> bool:
    return isinstance(network, Encoder | Decoder) or is_oobleck(network)


def _known_layers(network: nn.Module) -> list[nn.Module]:
    return list(network.layers) if isinstance(network, Encoder | Decoder) else oobleck_layers(network)


def _foreign(
    compute: Callable[[Tensor], Tensor],
    parts: list[nn.Module | None],
    measured: Callable[[], Reach | None],
    assumed: Reach,
) -> Foreign:
    modules = [part for part in parts if part is not None]
    reach = measured() if is_local(modules) else None
    name = " with ".join(f"the host's {type(module).__name__}" for module in modules)
    return Foreign(name, compute, modules, [reach or assumed], exact=reach is not None)


def _patches(pretransform: Any) -> tuple[list[nn.Module], list[nn.Module]] | None:
    """Layers before the encoder and after the decoder; none without a pretransform; None for one that filters."""
    from stable_audio_tools.models import pretransforms

    if pretransform is None:
        return [], []
    plain = isinstance(pretransform, getattr(pretransforms, "PatchedPretransform", ()))
    if not plain or hasattr(pretransform, "postfilter") or getattr(pretransform, "oversampling", 1) != 1:
        return None
    size, name = pretransform.patch_size, "the host's PatchedPretransform"

    def into_patches(audio: Tensor) -> Tensor:
        whole = audio.shape[-1] // size * size
        patches: Tensor = pretransform.encode(audio[..., :whole])
        return patches

    after = Foreign(name, pretransform.decode, [], [Reach(size, size, transposed=True)])
    return [Foreign(name, into_patches, [], [Reach(size, size)])], [after]
