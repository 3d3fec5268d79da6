"""An Oobleck autoencoder in the layout of diffusers' ``AutoencoderOobleck`` (0.30 and later): its keys and config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import Tensor, nn

from ..errors import UserError
from ..models import Autoencoder, Foreign, SnakeBeta
from ..models.layers import Residual, WNConv1d, WNConvTranspose1d
from ..models.oobleck import Block, Decoder, Encoder

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
#: The first release with this class.
VERSION = "0.30.0"


def diffusers_layout(model: Autoencoder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors. Its posterior's mean and its decoding are the same; the deviation of ours is 1e-4 smaller.

    Raises:
        UserError: the class of diffusers cannot be this network; the reason is named.
    """
    encoder, decoder = model.encoder, model.decoder
    if reason := _reason(model):
        raise UserError(f"diffusers' AutoencoderOobleck cannot be this model: {reason}; choose another --format")
    width, multiples = _widths(encoder)
    config = {
        "_class_name": "AutoencoderOobleck",
        "_diffusers_version": VERSION,
        "audio_channels": model.in_channels,
        "channel_multiples": multiples,
        "decoder_channels": _widths(decoder)[0],
        "decoder_input_channels": model.latent_dim,
        "downsampling_ratios": _strides(encoder),
        "encoder_hidden_size": width,
        "sampling_rate": model.sample_rate,
    }
    named = [*_network("encoder", encoder, _encoder_block), *_network("decoder", decoder, _decoder_block)]
    return config, {f"{name}.{key}": value for name, layer in named for key, value in _tensors(layer)}


def _reason(model: Autoencoder) -> str:
    """Why it cannot; empty where it can."""
    return _of_layers(model) or _of_ends(model) or _of_sizes(model)


def _of_layers(model: Autoencoder) -> str:
    for layer in [*model.encoder.modules(), *model.decoder.modules()]:
        if isinstance(layer, Foreign):
            return f"it has {layer.name}"
        if type(layer).__module__.startswith("alias_free_torch"):
            return "its activations are antialiased"
        if type(layer) in _OTHER_LAYERS:
            return _OTHER_LAYERS[type(layer)]
    last = next(layer for layer in reversed(model.decoder.layers) if not isinstance(layer, nn.Identity))
    convolutions = [m for m in model.modules() if isinstance(m, WNConv1d | WNConvTranspose1d)]
    if [conv for conv in convolutions if conv.bias is None] != [last]:
        return "it has biases elsewhere than in all convolutions but the last"
    return ""


def _of_ends(model: Autoencoder) -> str:
    if model.decoder.transformers is not None:
        return "its decoder has a transformer"
    if model.soft_clip:
        return "its audio is bounded by tanh (soft_clip)"
    if not getattr(model.bottleneck, "draws", True) or model.bottleneck.codebooks is not None:
        return "its bottleneck is not variational"
    return ""


def _of_sizes(model: Autoencoder) -> str:
    if model.in_channels != model.out_channels:
        return f"it has {model.in_channels} audio channels in and {model.out_channels} out"
    width, multiples = _widths(model.encoder)
    if 2 * model.latent_dim != width:
        return (
            f"the encoder there gives as many channels as its first layer has, which are {width} here, where "
            f"{model.latent_dim} latent channels need {2 * model.latent_dim}"
        )
    if multiples != _widths(model.decoder)[1] or _strides(model.encoder) != _strides(model.decoder)[::-1]:
        return "encoder and decoder differ in their c_mults or strides"
    return ""


_OTHER_LAYERS: dict[type, str] = {
    nn.ELU: "its activations are ELU",
    nn.Tanh: "its audio is bounded by tanh (final_tanh)",
    nn.Upsample: "its decoder repeats samples (use_nearest_upsample)",
}


def _strided(block: nn.Module) -> WNConv1d | WNConvTranspose1d:
    """The convolution of a block that changes the rate."""
    layers = cast(nn.Sequential, block.layers)
    return cast(
        "WNConv1d | WNConvTranspose1d", next(la for la in layers if isinstance(la, WNConv1d | WNConvTranspose1d))
    )


def _strides(network: Encoder | Decoder) -> list[int]:
    return [_strided(block).stride[0] for block in network.layers if isinstance(block, Block)]


def _widths(network: Encoder | Decoder) -> tuple[int, list[int]]:
    """Channels at the full rate, and the multiples of them after each block, in the encoder's order."""
    widths = []
    for block in (layer for layer in network.layers if isinstance(layer, Block)):
        weight = _strided(block).weight_v  # of a transposed one its input channels come first, the encoder's outputs
        widths.append(weight.shape[0])
    if isinstance(network, Decoder):
        narrow = _strided(next(la for la in reversed(network.layers) if isinstance(la, Block))).weight_v.shape[1]
        return narrow, [width // narrow for width in reversed(widths)]
    first = cast(WNConv1d, network.layers[0]).weight_v.shape[0]
    return first, [width // first for width in widths]


_Named = Iterator[tuple[str, nn.Module]]


def _network(name: str, network: Encoder | Decoder, block_names: Any) -> _Named:
    layers = [layer for layer in network.layers if not isinstance(layer, nn.Identity)]
    first, *blocks, snake, last = layers
    yield f"{name}.conv1", first
    for index, block in enumerate(blocks):
        yield from block_names(f"{name}.block.{index}", list(cast(Block, block).layers))
    yield f"{name}.snake1", snake
    yield f"{name}.conv2", last


def _encoder_block(name: str, layers: Sequence[nn.Module]) -> _Named:
    *units, snake, conv = layers
    yield from _units(name, units)
    yield f"{name}.snake1", snake
    yield f"{name}.conv1", conv


def _decoder_block(name: str, layers: Sequence[nn.Module]) -> _Named:
    snake, conv, *units = layers
    yield f"{name}.snake1", snake
    yield f"{name}.conv_t1", conv
    yield from _units(name, units)


def _units(name: str, units: Sequence[nn.Module]) -> _Named:
    for number, unit in enumerate(units, start=1):
        for part, layer in zip(("snake1", "conv1", "snake2", "conv2"), cast(Residual, unit).layers, strict=True):
            yield f"{name}.res_unit{number}.{part}", layer


def _tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for key, value in layer.state_dict().items():
        yield key, value.view(1, -1, 1) if isinstance(layer, SnakeBeta) else value
