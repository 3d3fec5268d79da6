"""Networks and seeds shared by the model tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

# --doctest-modules would collect this file as a module named "conftest", of which there is one per folder.
collect_ignore = ["conftest.py"]


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Tiny random networks of the authors' implementation and what they compute (float32, CPU, eval)."""
    return Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def randomize() -> Callable[[nn.Module], nn.Module]:
    """Moves every parameter off its initial value, so that zero-initialised branches take part."""

    def apply(module: nn.Module, scale: float = 0.1) -> nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
        return module

    return apply


@pytest.fixture
def tiny_config() -> dict[str, Any]:
    """A whole model config, ratio 8, a few thousand parameters."""
    size = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4]}
    return {
        "model_type": "autoencoder",
        "sample_rate": 44100,
        "model": {
            "encoder": {"type": "ear_encoder", "config": {"in_channels": 2, "latent_dim": 64, **size}},
            "decoder": {
                "type": "ear_decoder",
                "config": {"out_channels": 2, "latent_dim": 32, "transformer": {"depth": 1}, **size},
            },
            "bottleneck": {"type": "ear_vae", "config": {}},
            "latent_dim": 32,
            "downsampling_ratio": 8,
            "io_channels": 2,
        },
    }


@pytest.fixture
def gradients() -> Callable[..., list[Tensor]]:
    """Gradients of Σ out·pattern at the given leaves; the fixed pattern keeps signs from cancelling by symmetry."""

    def compute(out: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        pattern = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        return list(torch.autograd.grad((out * pattern).sum(), leaves))

    return compute
