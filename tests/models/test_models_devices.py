"""The released network, the losses and the discriminator at full size on a device that has shapes and no numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ear_sat.losses import LossBundle
from ear_sat.models import Autoencoder, MultiResolutionSTFTDiscriminator, fold_weight_norm

CONFIGS = Path(__file__).parents[2] / "model_configs"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(json.loads((CONFIGS / "ear_vae.json").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_a_round_of_full_size_stays_on_its_device(config: dict[str, Any]) -> None:
    """Constants made on the CPU would meet tensors of another device here, as they would on a GPU."""
    losses = config["training"]["loss_configs"]
    terms = {name: entry for name, entry in losses.items() if name not in ("discriminator", "bottleneck")}
    with torch.device("meta"):
        model = fold_weight_norm(Autoencoder.from_config(config))  # whose backward pass knows no such device
        bundle = LossBundle.from_config(terms, config["sample_rate"])
        discriminator = MultiResolutionSTFTDiscriminator(**losses["discriminator"]["config"])
        reals = torch.randn(8, 2, config["sample_size"])
    latents, info = model.encode(reals, return_info=True)
    decoded = model.decode(latents)
    assert latents.shape == (8, 64, 64) and decoded.shape == reals.shape
    judged = [bundle(decoded, reals).total, *discriminator.loss(reals, decoded)[1:]]
    (gradient,) = torch.autograd.grad(torch.stack(judged).sum(), decoded)
    ((decoded * gradient).sum() + info["kl"]).backward()
    assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())
