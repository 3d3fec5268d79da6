"""The parts of an autoencoder by their JSON types, and checks of the sizes that a config gives them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from torch import nn

from ..config import TypedEntry, argument, build, check_keys, check_types, choice_error, parameter_names, value_types
from ..errors import UserError
from ..value_types import Size
from .bottleneck import VAEBottleneck
from .oobleck import Decoder, Encoder

#: JSON type → class, for each part of the model.
ENCODERS: dict[str, Callable[..., nn.Module]] = {"ear_encoder": Encoder}
DECODERS: dict[str, Callable[..., nn.Module]] = {"ear_decoder": Decoder}
BOTTLENECKS: dict[str, Callable[..., nn.Module]] = {"ear_vae": VAEBottleneck}


class Part(TypedEntry, total=False):
    """The keys of encoder, decoder and bottleneck.

    Keys:
        type: which network: one of ours or, with a host, one of its own.
        config: its constructor's arguments.
        requires_grad: false freezes the part.
        soft_clip: of a decoder: the host's tanh at the output.
    """

    requires_grad: bool
    soft_clip: bool


class ModelSection(TypedDict, total=False):
    """The keys of ``model`` that are ours; a host reads others beside them.

    Keys:
        encoder: audio to the bottleneck's input.
        decoder: latents to audio.
        bottleneck: what makes latents of the encoder's output.
        latent_dim: channels of the latents.
        downsampling_ratio: samples per latent frame: the product of the strides.
        io_channels: audio channels in and out.
        in_channels: audio channels in, where they differ.
        out_channels: audio channels out, where they differ.
    """

    encoder: Mapping[str, Any]
    decoder: Mapping[str, Any]
    bottleneck: Mapping[str, Any]
    latent_dim: Size
    downsampling_ratio: Size
    io_channels: Size
    in_channels: Size | None
    out_channels: Size | None


def build_part(what: str, types: Mapping[str, Callable[..., nn.Module]], config: Mapping[str, Any]) -> nn.Module:
    """Builds ``{"type", "config", "requires_grad"?}`` from the given types; errors name the close match."""
    kind = str(config.get("type"))
    if kind not in types:
        raise choice_error(f"{what} type", kind, types)
    check_keys(what, config, value_types(Part))
    part = build(f"{what}.config", types[kind], config.get("config"))
    return part if config.get("requires_grad", True) else part.requires_grad_(False)


def check_model_sizes(model: Mapping[str, Any]) -> None:
    """Raises :class:`UserError` where sizes given twice in a ``"model"`` config contradict each other."""
    for part in ("encoder", "decoder", "bottleneck", "latent_dim", "downsampling_ratio", "io_channels"):
        if part not in model:
            raise UserError(f'the model config needs the key "{part}" inside "model"')
    check_types("model", ModelSection, model)
    for name in ("encoder", "decoder", "bottleneck"):
        check_types(f"model.{name}", Part, model[name])
    for name, types in (("encoder", ENCODERS), ("decoder", DECODERS)):
        if (kind := model[name].get("type")) in types:  # a misspelt key is no wrong size
            config = model[name].get("config") or {}
            check_keys(f"{name}.config", config, parameter_names(types[kind]))
            check_types(f"{name}.config", types[kind], config)
    ear_encoder = model["encoder"].get("type") in ENCODERS
    ear_decoder = model["decoder"].get("type") in DECODERS
    encoder, decoder = model["encoder"].get("config") or {}, model["decoder"].get("config") or {}
    latent, ratio = model["latent_dim"], model["downsampling_ratio"]
    sides: tuple[tuple[str, type[nn.Module], Mapping[str, Any], str, bool], ...] = (
        ("encoder", Encoder, encoder, "in_channels", ear_encoder),
        ("decoder", Decoder, decoder, "out_channels", ear_decoder),
    )
    for name, side, config, key, ours in sides:
        if not ours:
            continue
        product = math.prod(argument(side, config, "strides"))
        if product != ratio:
            raise UserError(f"the {name}'s strides multiply to {product}, downsampling_ratio says {ratio}")
        channels, expected = argument(side, config, key), model.get(key, model["io_channels"])
        # Inside a host pretransform the parts see its latents, not the audio.
        if "pretransform" not in model and channels != expected:
            raise UserError(
                f"the {name}'s {key} is {channels}, the model's {key if key in model else 'io_channels'} is {expected}"
            )
    if ear_decoder and (width := argument(Decoder, decoder, "latent_dim")) != latent:
        raise UserError(f"the decoder's latent_dim is {width}, the model's is {latent}")
    halved = model["bottleneck"].get("type") in BOTTLENECKS
    if ear_encoder and halved and (width := argument(Encoder, encoder, "latent_dim")) != 2 * latent:
        raise UserError(
            f"the encoder's latent_dim counts mean and scale together: it must be {2 * latent} for the model's "
            f"latent_dim {latent}, not {width}"
        )
