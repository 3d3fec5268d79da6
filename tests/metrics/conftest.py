"""Signals shared by the metric tests. Golden values come from the evaluation code of the εar-VAE release."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).parents[1] / "data" / "metrics"


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    return json.loads((DATA / "metrics_expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def golden_pair() -> tuple[Tensor, Tensor]:
    """Estimate and reference, (2, 66150) each, 44.1 kHz: 1.5 s."""
    tensors = load_file(DATA / "metrics_synthetic.safetensors")
    return tensors["estimate"], tensors["reference"]


@pytest.fixture(scope="session")
def music_like() -> tuple[Tensor, Tensor]:
    """An estimate (about 14 dB SNR) and a target, (2, 4 s): modulated stereo noise with a second of silence around."""
    rng = torch.Generator().manual_seed(1)
    length = 4 * 44100
    time = torch.arange(length) / 44100
    noise = torch.randn(2, length, generator=rng) * (0.5 + 0.4 * torch.sin(2 * torch.pi * 3 * time))
    active = (time > 1) & (time < 3)
    mixed = torch.stack((noise[0], 0.6 * noise[0] + 0.4 * noise[1]))  # partly correlated channels, as music has
    target = 0.1 * mixed * active
    return target + 0.01 * torch.randn(2, length, generator=rng) * active, target
