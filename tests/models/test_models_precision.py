"""What training on a GPU hears of its own output, by the default precision there: bf16-mixed, emulated."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ear_sat.data import synthesise_track
from ear_sat.losses import LossBundle
from ear_sat.models import Decoder

ROOT = Path(__file__).parents[2]
RATE, HOP = 44100, 64


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


@pytest.fixture
def bundle() -> LossBundle:
    config = json.loads((ROOT / "model_configs" / "ear_vae.json").read_text(encoding="utf-8"))
    losses = config["training"]["loss_configs"]
    return LossBundle.from_config({k: losses[k] for k in ("magnitude", "correlation")}, RATE)


def test_tf32_rounds_to_ten_bits(scripts: Any) -> None:
    """On a GPU, float32 convolutions multiply these."""
    gpu = scripts("gpu_arithmetic")
    x, kernel, bias = torch.randn(1, 3, 50, requires_grad=True), torch.randn(4, 3, 5), torch.randn(4)
    conv, grad = torch.nn.functional.conv1d, torch.randn(1, 4, 46)
    exact = conv(gpu.tf32(x), gpu.tf32(kernel), bias)
    with gpu.GpuArithmetic():
        rounded = conv(x, kernel, bias)
        (gradient,) = torch.autograd.grad(rounded, x, grad)
    assert torch.equal(rounded, exact) and not torch.equal(rounded, conv(x, kernel, bias))
    plain = torch.nn.functional.conv_transpose1d(gpu.tf32(grad), gpu.tf32(kernel))
    assert (gradient - plain).abs().max() <= 1e-6 * plain.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_once(scripts: Any, dtype: torch.dtype) -> None:
    """Forward and backward; sums are float32's."""
    gpu = scripts("gpu_arithmetic")
    x, kernel = torch.randn(1, 30, 50).to(dtype).requires_grad_(), torch.randn(4, 30, 5).to(dtype)
    with gpu.GpuArithmetic():
        y = torch.nn.functional.conv1d(x, kernel)
        (gradient,) = torch.autograd.grad(y.sum(), x)
    z = x.detach().float().requires_grad_()
    exact = torch.nn.functional.conv1d(z, kernel.float())
    assert torch.equal(y, exact.to(dtype))
    assert torch.equal(gradient, torch.autograd.grad(exact.sum(), z)[0].to(dtype))


@pytest.mark.parametrize("seed", [0, 1])
def test_bf16_leaves_the_gradient_of_loud_bins(scripts: Any, bundle: LossBundle, seed: int) -> None:
    """A decoder fed with the course of a track, and a target 10 dB away from what it gives in float32."""
    gpu, noise = scripts("gpu_arithmetic"), scripts("gradient_noise")
    torch.manual_seed(seed)
    decoder = Decoder(2, 16, [1, 2, 4], [2, 4, 8], latent_dim=32)
    course = torch.from_numpy(synthesise_track(seed, 1.5, RATE, seed=0)).abs().amax(0)[RATE::HOP][:256]
    latents = torch.randn(1, 32, 256) * course
    with torch.no_grad():
        exact = decoder(latents)
        scale = 0.3 / exact.abs().max()
        exact = exact * scale
        target = exact * (1 + 0.3 * torch.randn_like(exact))

    def cosines(layers: int) -> dict[str, float]:
        decoder.unrounded_layers = layers
        with gpu.GpuArithmetic(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            decoded = decoder(latents).float() * scale
        found = {}
        for gradients in (noise.terms_of(bundle, target), noise.levels_of(bundle.entries["magnitude"].module, target)):
            one, other = gradients(exact), gradients(decoded)
            found |= {name: noise.cosine(one[name], other[name]) for name in one}
        return found

    ours, rounded = cosines(decoder.unrounded_layers), cosines(0)
    loud = "-60 … -40"
    assert ours["correlation/correlation"] > 0.94 and ours[loud] > 0.92
    # Without the last block in float32 the angle's error is half as large again, and more.
    for name in ("correlation/correlation", "magnitude/log", loud):
        assert 1 - rounded[name] > 1.5 * (1 - ours[name]), name


def test_the_last_block_is_spared_in_training() -> None:
    """Its output is float32, rounded nowhere after the block's input."""
    decoder = Decoder(1, 4, [1, 2], [2, 4], latent_dim=8)
    z = torch.randn(1, 8, 20)
    seen: list[Tensor] = []
    decoder.layers[-4].register_forward_hook(lambda module, inputs, output: seen.extend((inputs[0], output)))
    with torch.autocast("cpu", torch.bfloat16):
        decoded = decoder(z)
        assert torch.is_autocast_enabled("cpu")
    block_input, block_output = seen
    assert block_input.dtype == block_output.dtype == decoded.dtype == torch.float32
    assert torch.equal(block_input.bfloat16().float(), block_input)  # rounded before, and not since
    assert torch.equal(decoder.layers[-4](block_input), block_output)
    decoded.sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())
