"""ONNX files compute what the model computes, at any length, and say what they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from weights_test_models import config_of, golden_io, golden_state, model_of, write_as

import ear_sat
from ear_sat import UserError
from ear_sat.weights import config_metadata, onnx_export, write_weights
from ear_sat.weights.onnx_export import onnx_files, write_onnx

onnx = pytest.importorskip("onnx", reason="needs onnx, which does not go beside the protobuf of host 0.0.19")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which goes with onnx")

VARIANTS = {
    "transformer": config_of(transformer={"depth": 2}),
    "antialiased": config_of(encoder={"antialias_activation": True}, decoder={"antialias_activation": True}),
    "others": config_of(
        in_channels=1,
        out_channels=1,
        strides=[3, 4],
        encoder={"use_snake": False},
        decoder={"use_nearest_upsample": True, "use_snake": False, "final_tanh": True},
        soft_clip=True,
    ),
}


def run(file: Path, given: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
    return torch.from_numpy(np.asarray(result))


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_any_length_and_batch(name: str, tmp_path: Path) -> None:
    model = model_of(VARIANTS[name]).eval()
    errors = write_onnx(model, tmp_path / "m.onnx", {})
    encoder, decoder = onnx_files(tmp_path / "m.onnx")
    assert list(errors) == [encoder, decoder] and all(error <= 1e-4 for error in errors.values())
    for frames, batch in ((4, 3), (41, 1)):
        audio = 0.3 * torch.randn(batch, model.in_channels, frames * model.downsampling_ratio)
        latents = model.encode(audio)
        torch.testing.assert_close(run(encoder, audio), latents, rtol=0, atol=1e-4)
        torch.testing.assert_close(run(decoder, latents), model.decode(latents), rtol=0, atol=1e-4)


def test_the_command(tmp_path: Path, command: Callable[..., Any]) -> None:
    """The released layout, with the authors' own latents and audio."""
    source = write_as("release", golden_state("tiny_transformer"), tmp_path)
    result = command("export", source, tmp_path / "new" / "vae.onnx")
    assert result.code == 0 and result.out.count("of the model at 6 and 17 latent frames") == 2
    encoder, decoder = onnx_files(tmp_path / "new" / "vae.onnx")
    props = {prop.key: prop.value for prop in onnx.load(encoder).metadata_props}
    assert props["opset"] == "17" and props["sample_rate"] == "44100"
    assert set(json.loads(props["versions"])) >= {"ear_sat", "torch", "onnx"}
    model = ear_sat.load_autoencoder(source)
    assert json.loads(props["model_config"])["model"]["downsampling_ratio"] == model.downsampling_ratio
    theirs = golden_io("tiny_transformer")
    torch.testing.assert_close(run(encoder, theirs["audio"]), theirs["encoder_output"][:, :32], rtol=0, atol=1e-4)
    torch.testing.assert_close(run(decoder, theirs["latents"]), theirs["decoded"], rtol=0, atol=1e-4)
    again = command("export", source, tmp_path / "new" / "vae.onnx")
    assert again.code == 1 and "vae.encoder.onnx exists already" in again.err
    assert command("export", source, tmp_path / "new" / "vae.onnx", "--force").code == 0


def test_a_difference_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(config_of()).eval()
    plain = onnx_export.snake_beta_reference
    monkeypatch.setattr(
        onnx_export, "snake_beta_reference", lambda x, a, b: plain(x, a, b) + 0.01 * torch.onnx.is_in_onnx_export()
    )
    with pytest.raises(UserError, match=r"m\.encoder\.onnx differs from the model by .*; it was not written"):
        write_onnx(model, tmp_path / "m.onnx", {})
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of()
    write_weights(model_of(config).state_dict(), tmp_path / "a.ckpt", metadata=config_metadata(config))
    result = command("export", tmp_path / "a.ckpt", tmp_path / "folder", "--format", "onnx")
    assert result.code == 1 and "a name that ends in .onnx" in result.err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = command("export", tmp_path / "a.ckpt", tmp_path / "a.onnx")
    assert result.code == 1 and "pip install 'ear-sat[onnx]'" in result.err and result.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt"]
