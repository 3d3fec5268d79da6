"""Encoder, bottleneck and decoder as one model, with the attribute names of the host's ``AudioAutoencoder``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from ..config import build, check_keys, choice_error
from ..errors import UserError
from .bottleneck import VAEBottleneck
from .oobleck import DEFAULT_STRIDES, Decoder, Encoder

#: JSON type → class, for each part of the model.
ENCODERS: dict[str, Callable[..., nn.Module]] = {"ear_encoder": Encoder}
DECODERS: dict[str, Callable[..., nn.Module]] = {"ear_decoder": Decoder}
BOTTLENECKS: dict[str, Callable[..., nn.Module]] = {"ear_vae": VAEBottleneck}


def build_part(what: str, types: Mapping[str, Callable[..., nn.Module]], config: Mapping[str, Any]) -> nn.Module:
    """Builds ``{"type", "config", "requires_grad"?}`` from the given types; errors name the close match."""
    kind = str(config.get("type"))
    if kind not in types:
        raise choice_error(f"{what} type", kind, types)
    check_keys(what, config, ("type", "config", "requires_grad", "soft_clip"))
    part = build(f"{what}.config", types[kind], config.get("config"))
    return part if config.get("requires_grad", True) else part.requires_grad_(False)


class Autoencoder(nn.Module):
    """A music autoencoder that needs no host.

    Args:
        encoder, decoder, bottleneck: the parts; see :mod:`ear_sat.models`.
        latent_dim: channels of the latents.
        downsampling_ratio: hop length, samples per latent frame.
        sample_rate: Hz.
        io_channels: audio channels.
        soft_clip: bound the decoded audio by tanh, as the host does where the decoder's JSON says so.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        bottleneck: VAEBottleneck,
        latent_dim: int,
        downsampling_ratio: int,
        sample_rate: int,
        io_channels: int = 2,
        soft_clip: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.bottleneck = encoder, decoder, bottleneck
        self.latent_dim, self.downsampling_ratio = latent_dim, downsampling_ratio
        self.sample_rate, self.io_channels = sample_rate, io_channels
        self.in_channels = self.out_channels = io_channels
        self.min_length = downsampling_ratio
        self.soft_clip = soft_clip

    @classmethod
    def from_config(cls, model_config: Mapping[str, Any]) -> Autoencoder:
        """Builds the model of a host model config (``model_type`` "autoencoder") whose parts are all ours.

        Raises:
            UserError: an unknown type or key, or sizes that contradict each other.
        """
        model = model_config.get("model")
        if not isinstance(model, Mapping):
            raise UserError('the model config needs a "model" object with encoder, decoder and bottleneck')
        check_model_sizes(model)
        return cls(
            encoder=build_part("encoder", ENCODERS, model["encoder"]),
            decoder=build_part("decoder", DECODERS, model["decoder"]),
            bottleneck=cast(VAEBottleneck, build_part("bottleneck", BOTTLENECKS, model["bottleneck"])),
            latent_dim=model["latent_dim"],
            downsampling_ratio=model["downsampling_ratio"],
            sample_rate=model_config["sample_rate"],
            io_channels=model["io_channels"],
            soft_clip=model["decoder"].get("soft_clip", False),
        )

    def encode(self, audio: Tensor, return_info: bool = False, **kwargs: Any) -> Any:
        """(batch, channels, time) → latents (batch, latent_dim, frames), or (latents, info) with the KL term."""
        latents, info = self.bottleneck.encode(self.encoder(audio), return_info=True, **kwargs)
        return (latents, info) if return_info else latents

    def decode(self, latents: Tensor) -> Tensor:
        """(batch, latent_dim, frames) → audio (batch, channels, frames · downsampling_ratio)."""
        audio = self.decoder(self.bottleneck.decode(latents))
        return audio.tanh() if self.soft_clip else audio

    def forward(self, audio: Tensor) -> Tensor:
        """Reconstruction of ``audio``, as long; padded with zeros on the way where the hop length does not divide it.

        Odd strides give a little less: see :class:`Decoder`.
        """
        padded = F.pad(audio, (0, -audio.shape[-1] % self.downsampling_ratio))
        return self.decode(self.encode(padded))[..., : audio.shape[-1]]


def check_model_sizes(model: Mapping[str, Any]) -> None:
    """Raises :class:`UserError` where sizes given twice in a ``"model"`` config contradict each other."""
    for part in ("encoder", "decoder", "bottleneck", "latent_dim", "downsampling_ratio", "io_channels"):
        if part not in model:
            raise UserError(f'the model config needs the key "{part}" inside "model"')
    ear_encoder = model["encoder"].get("type") in ENCODERS
    ear_decoder = model["decoder"].get("type") in DECODERS
    encoder, decoder = model["encoder"].get("config") or {}, model["decoder"].get("config") or {}
    latent, ratio = model["latent_dim"], model["downsampling_ratio"]
    for name, config, ours in (("encoder", encoder, ear_encoder), ("decoder", decoder, ear_decoder)):
        product = math.prod(config.get("strides", DEFAULT_STRIDES))
        if ours and product != ratio:
            raise UserError(f"the {name}'s strides multiply to {product}, downsampling_ratio says {ratio}")
    # Inside a host pretransform the parts see its latents, not the audio.
    for name, config, key, ours in (
        ("encoder", encoder, "in_channels", ear_encoder),
        ("decoder", decoder, "out_channels", ear_decoder),
    ):
        expected_channels = model.get(key, model["io_channels"])
        if ours and "pretransform" not in model and config.get(key, 2) != expected_channels:
            raise UserError(
                f"the {name}'s {key} is {config.get(key, 2)}, the model's "
                f"{key if key in model else 'io_channels'} is {expected_channels}"
            )
    if ear_decoder and decoder.get("latent_dim", 64) != latent:
        raise UserError(f"the decoder's latent_dim is {decoder.get('latent_dim', 64)}, the model's is {latent}")
    expected = 2 * latent if model["bottleneck"].get("type") in BOTTLENECKS else None
    if ear_encoder and expected is not None and encoder.get("latent_dim", 128) != expected:
        raise UserError(
            f"the encoder's latent_dim counts mean and scale together: it must be {expected} for the model's "
            f"latent_dim {latent}, not {encoder.get('latent_dim', 128)}"
        )
