"""Models and audio files shared by the tests of reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from ear_sat.models import Autoencoder, Decoder, Encoder, VAEBottleneck

# --doctest-modules would collect this file as a module named "conftest", of which there is one per folder.
collect_ignore = ["conftest.py"]


@pytest.fixture(scope="session")
def tiny_model() -> Autoencoder:
    """A few thousand random parameters, hop length 8, 44.1 kHz, stereo, with transformer."""
    torch.manual_seed(0)
    size: dict[str, Any] = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4]}
    model = Autoencoder(
        Encoder(2, latent_dim=64, **size),
        Decoder(2, latent_dim=32, transformer={"depth": 1}, **size),
        VAEBottleneck(),
        latent_dim=32,
        downsampling_ratio=8,
        sample_rate=44100,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


@pytest.fixture
def identity_model() -> Callable[..., Autoencoder]:
    """Makes a model that gives back its input: a frame's latents are its samples, with a posterior of width ``std``."""

    def make(sample_rate: int = 44100, channels: int = 2, hop: int = 4, std: float = 0.0) -> Autoencoder:
        latent = hop * channels
        encoder, decoder = Encoder(1, 1, [1], [1], 2), Decoder(1, 1, [1], [1], 1)
        split = nn.Conv1d(channels, 2 * latent, hop, stride=hop)
        join = nn.ConvTranspose1d(latent, channels, hop, stride=hop, bias=False)
        one_hot = torch.eye(latent).view(latent, channels, hop)
        split.weight.data = torch.cat((one_hot, torch.zeros_like(one_hot)))
        scale = np.log(np.expm1(std)) if std else -1e4  # softplus⁻¹
        split.bias = nn.Parameter(torch.tensor([0.0, float(scale)]).repeat_interleave(latent))
        join.weight.data = one_hot.clone()
        encoder.layers, decoder.layers = nn.Sequential(split), nn.Sequential(join)
        model = Autoencoder(encoder, decoder, VAEBottleneck(), latent, hop, sample_rate, channels)
        return model.eval().requires_grad_(False)

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an array (frames, channels), or that much noise, below ``tmp_path / "in"``."""

    def make(name: str, audio: Any, sample_rate: int = 44100, **options: Any) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(audio, tuple):
            audio = np.random.default_rng(len(name)).uniform(-0.5, 0.5, audio)
        soundfile.write(path, np.asarray(audio, np.float32), sample_rate, **options)
        return path

    return make
