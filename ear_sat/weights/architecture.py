"""Reads the architecture off the tensors: the config of a model that a state dictionary fits."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..models import BOTTLENECKS, DECODERS
from ..models.transformer import MIN_ROTARY_DIMS, rotary_frequencies

#: What no tensor shows, and what the released models have (``dim_heads`` of 32 and 64 both leave 16 frequencies).
DEFAULT_SAMPLE_RATE, SAMPLE_RATE_OF_RATIO_960 = 44100, 48000
DEFAULT_DIM_HEADS = 32
DEFAULT_BOTTLENECK = {"type": "ear_vae", "config": {"sample": "training"}}
ROTARY_KEY = "decoder.transformers.rotary_pos_emb.inv_freq"


def read_architecture(
    state: Mapping[str, Tensor],
    *,
    sample_rate: int | None = None,
    dim_heads: int | None = None,
    final_tanh: bool | None = None,
    stored: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The model config of ``state`` (keys of an unwrapped model).

    What can be read off the tensors is read off them, whatever a config says: kernels are twice the strides, shapes
    give the widths. The rest comes from the arguments, else from the ``stored`` config, else from the released models.

    Args:
        state: tensors, on any device.
        sample_rate: Hz.
        dim_heads: channels per attention head.
        final_tanh: the decoder ends in a tanh.
        stored: model config found with the tensors.

    Returns:
        a model config, and one "name = value" per value that had to be assumed.

    Raises:
        UserError: the tensors are not those of an εar-VAE.
    """
    encoder, decoder = _encoder(state), _decoder(state)
    latent, ratio = decoder["latent_dim"], math.prod(encoder["strides"])
    if encoder["latent_dim"] != 2 * latent:
        raise UserError(
            f"this is not an εar-VAE: its encoder gives {encoder['latent_dim']} channels, where the decoder's {latent} "
            f"need {2 * latent} for mean and scale"
        )
    if math.prod(decoder["strides"]) != ratio:
        raise UserError(
            f"this is not an εar-VAE: the strides of its encoder {encoder['strides']} and of its decoder "
            f"{decoder['strides']} differ in their product"
        )
    stored = stored or {}
    stored_model = _section(stored, "model")
    stored_decoder = _section(stored_model, "decoder")
    stored_config = _section(stored_decoder, "config")
    assumed: list[str] = []

    def known(name: str, given: Any, kept: Any, default: Any) -> Any:
        for value in (given, kept):
            if value is not None:
                return value
        assumed.append(f"{name} = {str(default).lower() if isinstance(default, bool) else default}")
        return default

    default_rate = SAMPLE_RATE_OF_RATIO_960 if ratio == 960 else DEFAULT_SAMPLE_RATE
    rate = _rate(known("sample_rate", sample_rate, stored.get("sample_rate"), default_rate))
    # A config of ours leaves out what is at its default.
    kept = stored_config.get("final_tanh", False if str(stored_decoder.get("type")) in DECODERS else None)
    decoder["final_tanh"] = bool(known("final_tanh", final_tanh, kept, False))
    depth, rotary = _transformer(state)
    if depth:
        possible = _head_sizes(latent, rotary)
        _check_frequencies(state[ROTARY_KEY], rotary)
        if dim_heads not in (None, *possible):
            raise UserError(f"dim_heads can be {' or '.join(map(str, possible))} here, not {dim_heads}")
        default = DEFAULT_DIM_HEADS if DEFAULT_DIM_HEADS in possible else possible[0]
        stored_transformer = _section(stored_config, "transformer")
        kept = stored_transformer.get("dim_heads", DEFAULT_DIM_HEADS if stored_transformer else None)
        if kept not in possible:  # the tensors are right
            kept = default if len(possible) == 1 else None
        decoder["transformer"] = {"depth": depth, "dim_heads": known("dim_heads", dim_heads, kept, default)}
    bottleneck = _section(stored_model, "bottleneck")
    channels, out_channels = encoder["in_channels"], decoder["out_channels"]
    config = {
        "model_type": "autoencoder",
        "sample_size": stored.get("sample_size") or 64 * ratio,
        "sample_rate": rate,
        "audio_channels": channels,
        "model": {
            "encoder": {"type": "ear_encoder", "config": encoder},
            "decoder": {
                "type": "ear_decoder",
                "config": decoder,
                **({"soft_clip": True} if stored_decoder.get("soft_clip") else {}),
            },
            # The host's "vae" has the same mean and scale.
            "bottleneck": bottleneck if str(bottleneck.get("type")) in BOTTLENECKS else dict(DEFAULT_BOTTLENECK),
            "latent_dim": latent,
            "downsampling_ratio": ratio,
            "io_channels": channels,
            **({} if out_channels == channels else {"out_channels": out_channels}),
        },
    }
    return config, assumed


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under ``key``; an empty one where a stored config has something else there."""
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _rate(value: Any) -> int:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if not whole or not 1 <= value < 1e9:
        raise UserError(f"sample_rate must be a whole number of Hz, not {value!r}")
    return int(value)


def _indices(keys: Collection[str], pattern: str) -> list[int]:
    return sorted({int(match[1]) for key in keys if (match := re.match(pattern, key))})


def _other(problem: str, state: Mapping[str, Tensor]) -> UserError:
    counts: dict[str, int] = {}
    for key in state:
        group = ".".join(key.split(".")[:2])
        counts[group] = counts.get(group, 0) + 1
    shown = [f"{group} ×{count}" for group, count in list(counts.items())[:6]]
    found = ", ".join(shown) + (", …" if len(counts) > 6 else "")
    return UserError(
        f"this is not an εar-VAE, or not all of it: {problem}; found {found}; "
        "another autoencoder of stable-audio-tools needs its model_config.json beside it, or --model-config; other "
        "models load with the code that made them"
    )


def _weight(state: Mapping[str, Tensor], name: str) -> tuple[int, int, int]:
    """Shape of a weight-normed convolution."""
    value = state.get(f"{name}.weight_v")
    if value is None and f"{name}.weight" in state:
        raise UserError(
            f"its weight norm was removed ({name} has weight in place of weight_g and weight_v); "
            "give the file from before that"
        )
    if value is None:
        raise _other(f"{name}.weight_v is missing", state)
    if value.ndim != 3 or not value.numel():
        raise _other(f"{name}.weight_v has the shape {list(value.shape)}", state)
    return value.shape[0], value.shape[1], value.shape[2]


def _blocks(state: Mapping[str, Tensor], part: str, position: str) -> list[int]:
    blocks = _indices(state.keys(), rf"{part}\.layers\.(\d{{1,6}})\.layers\.{position}\.")
    if not blocks or blocks != list(range(1, len(blocks) + 1)):
        raise _other(f"it has no chain of blocks {part}.layers.1.layers.{position}, …", state)
    return blocks


def _options(state: Mapping[str, Tensor], part: str) -> dict[str, Any]:
    names = {key.rsplit(".", 1)[-1] for key in state if key.startswith(f"{part}.layers.")}
    return {"use_snake": "alpha" in names, "antialias_activation": "filter" in names, "bias": "bias" in names}


def _stride(part: str, block: int, kernel: int) -> int:
    if kernel % 2:
        raise UserError(f"this is not an εar-VAE: block {block} of its {part} has the odd kernel {kernel}")
    return kernel // 2


def _multiples(part: str, widths: list[int], channels: int) -> list[int]:
    if any(width % channels for width in widths):
        raise UserError(f"this is not an εar-VAE: the {part}'s widths {widths} are no multiples of {channels}")
    return [width // channels for width in widths]


def _encoder(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = _blocks(state, "encoder", "4")
    channels, in_channels, _ = _weight(state, "encoder.layers.0")
    convolutions = [_weight(state, f"encoder.layers.{i}.layers.4") for i in blocks]
    return {
        "in_channels": in_channels,
        "channels": channels,
        "c_mults": _multiples("encoder", [out for out, _, _ in convolutions], channels),
        "strides": [_stride("encoder", i, kernel) for i, (_, _, kernel) in zip(blocks, convolutions, strict=True)],
        "latent_dim": _weight(state, f"encoder.layers.{len(blocks) + 2}")[0],
        **_options(state, "encoder"),
    }


def _decoder(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = _blocks(state, "decoder", "1")
    nearest = "decoder.layers.1.layers.1.1.weight_v" in state
    name = "decoder.layers.{}.layers.1.1" if nearest else "decoder.layers.{}.layers.1"
    convolutions = [_weight(state, name.format(i)) for i in blocks]
    out_channels, channels, _ = _weight(state, f"decoder.layers.{len(blocks) + 2}")
    # A transposed convolution's weight begins with its input channels, a convolution's with its output channels.
    widths = [shape[1] if nearest else shape[0] for shape in convolutions]
    strides = [_stride("decoder", i, kernel) for i, (_, _, kernel) in zip(blocks, convolutions, strict=True)]
    return {
        "out_channels": out_channels,
        "channels": channels,
        "c_mults": _multiples("decoder", widths, channels)[::-1],
        "strides": strides[::-1],
        "latent_dim": _weight(state, "decoder.layers.0")[1],
        "use_nearest_upsample": nearest,
        **_options(state, "decoder"),
    }


def _transformer(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Depth (0 for none) and the number of rotated dimensions."""
    depth = len(_indices(state.keys(), r"decoder\.transformers\.layers\.(\d{1,6})\."))
    frequencies = state.get(ROTARY_KEY)
    if depth and frequencies is None:
        raise _other(f"{ROTARY_KEY} is missing", state)
    return depth, 0 if frequencies is None else 2 * frequencies.numel()


def _check_frequencies(frequencies: Tensor, rotary: int) -> None:
    """The networks turn by constants; a file may hold them as rounded by a half type, to 0.4 % at most."""
    if frequencies.is_meta:  # shapes only
        return
    if not torch.allclose(frequencies.float().cpu(), rotary_frequencies(rotary), rtol=0.01, atol=0):
        raise UserError(
            f"this is not an εar-VAE: the positions turn by other frequencies ({ROTARY_KEY}) than 10000^(−2i/{rotary})"
        )


def _head_sizes(latent: int, rotary: int) -> list[int]:
    """Values of ``dim_heads`` that divide ``latent`` and rotate ``rotary`` dimensions."""
    sizes = range(MIN_ROTARY_DIMS, latent + 1)
    found = [size for size in sizes if latent % size == 0 and max(size // 2, MIN_ROTARY_DIMS) == rotary]
    if not found:
        raise UserError(
            f"this is not an εar-VAE: no head size divides {latent} latent channels and rotates {rotary} dimensions"
        )
    return found
