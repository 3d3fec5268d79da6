"""Small random autoencoders of the host's own types, as people hold them: a folder with weights and a config."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

#: Samples per latent frame come from the strides of Stable Audio Open's VAE and of ACE-Step's.
STRIDES = {"stable-audio-open": [2, 4, 4, 8, 8], "ace-step": [2, 4, 4, 6, 10], "mono": [2, 4, 4]}
RATES = {"stable-audio-open": 44100, "ace-step": 48000, "mono": 16000, "same": 44100}
OOBLECK = tuple(STRIDES)


def has_same() -> bool:
    """Whether the installed host is one with SAME, 0.0.20."""
    from stable_audio_tools.models import autoencoders

    return hasattr(autoencoders, "SAMEEncoder")


def kinds() -> list[str]:
    """What this host can build."""
    return [*OOBLECK, *(["same"] if has_same() else [])]


def config_of(kind: str, **model: Any) -> dict[str, Any]:
    """The model config; ``model`` replaces keys of its model."""
    channels = 1 if kind == "mono" else 2
    parts = _same() if kind == "same" else _oobleck(STRIDES[kind], channels)
    return {
        "model_type": "autoencoder",
        "sample_size": 16 * parts["downsampling_ratio"],
        "sample_rate": RATES[kind],
        "audio_channels": channels,
        "model": {**parts, "io_channels": channels, **model},
    }


def _oobleck(strides: list[int], channels: int) -> dict[str, Any]:
    width = {"channels": 2, "c_mults": [1, 2, 2, 3, 4][: len(strides)], "strides": strides, "use_snake": True}
    return {
        "encoder": {"type": "oobleck", "config": {"in_channels": channels, "latent_dim": 8, **width}},
        "decoder": {
            "type": "oobleck",
            "config": {"out_channels": channels, "latent_dim": 4, "final_tanh": False, **width},
        },
        "bottleneck": {"type": "vae"},
        "latent_dim": 4,
        "downsampling_ratio": math.prod(strides),
    }


def _same() -> dict[str, Any]:
    """Transformers around a resampling step, on patches of 16 samples."""
    sizes = {"channels": 32, "c_mults": [1], "strides": [2], "transformer_depths": [1], "dim_heads": 16}
    return {
        "encoder": {"type": "same", "config": {"in_channels": 32, "latent_dim": 4, **sizes}},
        "decoder": {"type": "same", "config": {"out_channels": 32, "latent_dim": 4, **sizes}},
        "bottleneck": {"type": "softnorm", "config": {"dim": 4}},
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": 16}},
        "latent_dim": 4,
        "downsampling_ratio": 32,
    }


def wavelet() -> dict[str, Any]:
    """A mono Oobleck VAE on four bands of wavelets."""
    config = config_of("mono", pretransform={"type": "wavelet", "config": BANDS})
    config["model"]["encoder"]["config"]["in_channels"] = config["model"]["decoder"]["config"]["out_channels"] = 4
    config["model"]["downsampling_ratio"] *= 4
    return config


BANDS = {"channels": 1, "levels": 2, "wavelet": "bior4.4"}


def dac(strides: Sequence[int] = (2, 4, 4)) -> dict[str, Any]:
    """Encoder and decoder of the package descript-audio-codec."""
    rates = list(strides)
    encoder = {"d_model": 2, "strides": rates, "latent_dim": 8}
    return _between("dac", encoder, {"channels": 8, "rates": rates[::-1], "latent_dim": 4}, math.prod(rates))


def seanet(**options: Any) -> dict[str, Any]:
    """Encoder and decoder of the package encodec."""
    sizes = {"channels": 1, "n_filters": 2, "n_residual_layers": 1, "lstm": 0, **options}
    encoder = {"dimension": 8, "ratios": [2, 4, 5], **sizes}
    return _between("seanet", encoder, {"dimension": 4, "ratios": [5, 4, 2], **sizes}, 40)


def taae() -> dict[str, Any]:
    """Convolutions and transformers that see everything."""
    sizes = {"channels": 128, "c_mults": [1], "strides": [4], "transformer_depths": [1], "sliding_window": None}
    encoder = {"in_channels": 1, "latent_dim": 8, **sizes}
    return _between("taae", encoder, {"out_channels": 1, "latent_dim": 4, **sizes}, 4)


def _between(kind: str, encoder: dict[str, Any], decoder: dict[str, Any], hop: int) -> dict[str, Any]:
    parts = {"encoder": {"type": kind, "config": encoder}, "decoder": {"type": kind, "config": decoder}}
    return config_of("mono", downsampling_ratio=hop, **parts)


def built(config: dict[str, Any], seed: int = 0) -> Any:
    """The host's model, in eval mode; no two parameters are alike."""
    from stable_audio_tools.models import create_model_from_config

    torch.manual_seed(seed)
    model = create_model_from_config(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def save(model: Any, config: dict[str, Any], folder: Path, name: str = "model.ckpt") -> Path:
    """Writes weights and config as the host's scripts do; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        torch.save({"state_dict": state}, folder / name)
    (folder / "model_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def audio_for(config: dict[str, Any], frames: float, batch: int = 1) -> torch.Tensor:
    """Noise, (batch, channels, samples)."""
    samples = round(frames * config["model"]["downsampling_ratio"])
    return 0.3 * torch.randn(batch, config["audio_channels"], samples, generator=torch.Generator().manual_seed(1))


def mean_of(model: Any, audio: torch.Tensor) -> torch.Tensor:
    """The latents of the host's own encoder, without the draw of a "vae"."""
    from stable_audio_tools.models.bottleneck import VAEBottleneck

    if isinstance(model.bottleneck, VAEBottleneck):
        inputs = audio if model.pretransform is None else model.pretransform.encode(audio)
        mean: torch.Tensor = model.encoder(inputs).chunk(2, dim=1)[0]
        return mean
    latents: torch.Tensor = model.encode(audio)
    return latents
