"""The networks against the authors' implementation: golden outputs of tiny networks, every key of the release."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from ear_sat.models import Decoder, Encoder, VAEBottleneck, fold_weight_norm, kl_divergence, optimize_for_inference

NETWORKS = ("tiny_transformer", "tiny_no_transformer")
# Same operations in another order: float32 keeps 1.2e-7 of values up to a few units, over some 20 layers.
TOLERANCE = 1e-5
RELEASE_TRANSFORMER = {"depth": 2, "dim_heads": 32}


def worst(preds: Tensor, target: Tensor) -> float:
    assert preds.shape == target.shape
    return (preds - target).abs().max().item()


def ours(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The release's keys of one part under our names: ``transformers.*`` belongs to the decoder."""
    renamed = {f"decoder.{key}" if key.startswith("transformers.") else key: value for key, value in state.items()}
    return {key.removeprefix(f"{part}."): value for key, value in renamed.items() if key.startswith(f"{part}.")}


@pytest.fixture(params=NETWORKS)
def golden(request: pytest.FixtureRequest, golden_folder: Path) -> tuple[Encoder, Decoder, dict[str, Tensor]]:
    """Encoder and decoder with the authors' weights, and the authors' inputs and outputs."""
    config: dict[str, Any] = json.loads((golden_folder / f"{request.param}.config.json").read_text(encoding="utf-8"))
    state = load_file(golden_folder / f"{request.param}.state_dict.safetensors")
    transformer = config.get("transformer")
    if transformer:
        transformer = {"depth": transformer["depth"], "dim_heads": transformer["config"]["dim_heads"]}
    encoder = Encoder(**config["encoder"]["config"])
    decoder = Decoder(**config["decoder"]["config"], transformer=transformer)
    encoder.load_state_dict(ours(state, "encoder"), strict=True)
    decoder.load_state_dict(ours(state, "decoder"), strict=True)
    return encoder.eval(), decoder.eval(), load_file(golden_folder / f"{request.param}.io.safetensors")


@torch.no_grad()
def test_encoder_output(golden: tuple[Encoder, Decoder, dict[str, Tensor]]) -> None:
    encoder, _, io = golden
    assert worst(encoder(io["audio"]), io["encoder_output"]) <= TOLERANCE


@torch.no_grad()
def test_kl(golden: tuple[Encoder, Decoder, dict[str, Tensor]]) -> None:
    _, _, io = golden
    info = VAEBottleneck().encode(io["encoder_output"], return_info=True)[1]
    assert worst(info["kl"].view(1), io["kl"]) <= TOLERANCE
    # The formula on its own, in double precision.
    mean, scale = io["encoder_output"].double().chunk(2, dim=1)
    variance = F.softplus(scale).square() + 1e-6
    formula = (mean.square() + variance - variance.log() - 1).sum(1).mean().item()
    assert kl_divergence(mean, F.softplus(scale)).item() == pytest.approx(formula, rel=1e-5)


@torch.no_grad()
def test_decoded(golden: tuple[Encoder, Decoder, dict[str, Tensor]]) -> None:
    _, decoder, io = golden
    assert worst(decoder(io["latents"]), io["decoded"]) <= TOLERANCE


@torch.no_grad()
def test_folded_network_computes_the_same(golden: tuple[Encoder, Decoder, dict[str, Tensor]]) -> None:
    encoder, decoder, io = golden
    assert worst(fold_weight_norm(encoder)(io["audio"]), io["encoder_output"]) <= TOLERANCE
    assert worst(fold_weight_norm(decoder)(io["latents"]), io["decoded"]) <= TOLERANCE


@torch.no_grad()
def test_inference_mode_computes_the_same(golden: tuple[Encoder, Decoder, dict[str, Tensor]]) -> None:
    encoder, decoder, io = golden
    assert worst(optimize_for_inference(encoder)(io["audio"]), io["encoder_output"]) <= TOLERANCE
    assert worst(optimize_for_inference(decoder)(io["latents"]), io["decoded"]) <= TOLERANCE


@pytest.fixture(scope="module")
def release() -> tuple[Encoder, Decoder]:
    """The full 44.1 kHz architecture, shapes only."""
    with torch.device("meta"):
        return Encoder(), Decoder(transformer=RELEASE_TRANSFORMER)


def test_release_parameter_count(release: tuple[Encoder, Decoder]) -> None:
    # The published 147.83 M counts parameters only, the α and β that two activations share once. The file holds more
    # numbers: 24,576 for the second copy of the shared ones and 272 in buffers (four LN betas, inv_freq).
    parameters = [p for part in release for p in part.parameters()]
    assert sum(p.numel() for p in parameters) == 147_831_810
    assert sum(b.numel() for part in release for b in part.buffers()) == 272
    assert sum(t.numel() for part in release for t in part.state_dict().values()) == 147_831_810 + 24_576 + 272


def test_release_keys_and_shapes(release: tuple[Encoder, Decoder], golden_folder: Path) -> None:
    manifest = json.loads((golden_folder / "ear_vae_44k.manifest.json").read_text(encoding="utf-8"))
    encoder, decoder = (part.state_dict() for part in release)
    built = {f"encoder.{key}": value for key, value in encoder.items()}
    built |= {key if key.startswith("transformers.") else f"decoder.{key}": value for key, value in decoder.items()}
    assert {key: [list(t.shape), str(t.dtype)] for key, t in built.items()} == manifest


def test_release_hop_length(release: tuple[Encoder, Decoder]) -> None:
    encoder, decoder = release
    latents = encoder(torch.empty(1, 2, 4096, device="meta"))
    assert latents.shape == (1, 128, 4096 / math.prod((2, 4, 4, 4, 8)))
    assert decoder(latents[:, :64]).shape == (1, 2, 4096)
