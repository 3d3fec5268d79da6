"""With stable-audio-tools: its strict loading reads what we write, and its own models are told apart from ours."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from weights_test_models import cloned, config_of, outputs, tiny

import ear_sat
from ear_sat import UserError
from ear_sat.weights import config_metadata, write_weights

if importlib.util.find_spec("stable_audio_tools") is None:
    pytest.skip("stable-audio-tools is not installed", allow_module_level=True)

CONFIG = config_of(latent=64, transformer={"depth": 1, "dim_heads": 64}, sample_rate=22050)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    ear_sat.register()


def stock(use_snake: bool = True) -> Any:
    """A tiny autoencoder of the host's own types."""
    from stable_audio_tools.models.factory import create_model_from_config

    config = config_of()
    sizes = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4], "use_snake": use_snake}
    config["model"]["encoder"] = {"type": "oobleck", "config": {"in_channels": 2, "latent_dim": 64, **sizes}}
    config["model"]["decoder"] = {"type": "oobleck", "config": {"out_channels": 2, "latent_dim": 32, **sizes}}
    config["model"]["bottleneck"] = {"type": "vae"}
    torch.manual_seed(0)
    return create_model_from_config(config).eval()


@pytest.mark.slow
def test_a_stock_autoencoder_is_named(tmp_path: Path, command: Callable[..., Any]) -> None:
    """Its keys are ours, but it has two activations per unit, which differ once it is trained."""
    model = stock()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "stock.ckpt")
    for arguments in (("inspect", tmp_path / "stock.ckpt"), ("export", tmp_path / "stock.ckpt", tmp_path / "a.pyt")):
        result = command(*arguments)
        assert result.code == 1 and result.out == ""
        assert "is another model: encoder.layers.1.layers.0.layers.0.alpha and" in result.err
        assert "put its model_config.json beside it, or give --model-config" in result.err
    assert not (tmp_path / "a.pyt").exists()


@torch.no_grad()
def test_a_stock_autoencoder_that_is_the_same_network_loads(tmp_path: Path) -> None:
    """With ELU there are no activations to differ; the decoder's tanh cannot be seen."""
    model = stock(use_snake=False)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "stock.ckpt")
    loaded = ear_sat.load_autoencoder(tmp_path / "stock.ckpt", sample_rate=44100, final_tanh=True)
    audio, latents = torch.randn(1, 2, 80), torch.randn(1, 32, 5)
    torch.testing.assert_close(loaded.encoder(audio), model.encoder(audio))
    torch.testing.assert_close(loaded.decode(latents), model.decode(latents))


@pytest.mark.parametrize("form", ["host", "safetensors"])
def test_the_host_loads_our_files_strictly(form: str, tmp_path: Path) -> None:
    from stable_audio_tools.models.factory import create_model_from_config
    from stable_audio_tools.models.utils import load_ckpt_state_dict

    source = tiny(latent=64, transformer={"depth": 1, "dim_heads": 64})
    path = tmp_path / ("a.ckpt" if form == "host" else "a.safetensors")
    write_weights(source.state_dict(), path, metadata=config_metadata(CONFIG))
    model = create_model_from_config(json.loads(json.dumps(CONFIG))).eval()
    model.load_state_dict(load_ckpt_state_dict(str(path)), strict=True)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_hub_folder_is_what_get_pretrained_model_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> None:
    """The host's function itself, with the folder in place of the hub."""
    from stable_audio_tools.models import pretrained

    source = tiny(latent=64, transformer={"depth": 1, "dim_heads": 64})
    write_weights(source.state_dict(), tmp_path / "a.pyt", metadata=config_metadata(CONFIG))
    assert command("export", tmp_path / "a.pyt", tmp_path / "hub", "--format", "hub").code == 0

    def hf_hub_download(_: str, filename: str, **__: Any) -> str:
        assert (tmp_path / "hub" / filename).is_file()
        return str(tmp_path / "hub" / filename)

    monkeypatch.setattr(pretrained, "hf_hub_download", hf_hub_download)
    model, config = pretrained.get_pretrained_model("someone/ear")
    assert config["sample_rate"] == 22050 and config["sample_size"] == 1024
    state = source.state_dict()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    ours = ear_sat.load_autoencoder(tmp_path / "hub")
    assert all(torch.equal(a, b) for a, b in zip(outputs(ours), outputs(source), strict=True))


def test_our_model_and_the_hosts_have_the_same_attributes(tmp_path: Path) -> None:
    from stable_audio_tools.models.factory import create_model_from_config

    theirs = create_model_from_config(json.loads(json.dumps(CONFIG))).eval()
    write_weights(theirs.state_dict(), tmp_path / "a.ckpt", metadata=config_metadata(CONFIG))
    ours = ear_sat.load_autoencoder(tmp_path / "a.ckpt")
    names = (
        "latent_dim",
        "downsampling_ratio",
        "sample_rate",
        "io_channels",
        "in_channels",
        "out_channels",
        "min_length",
    )
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    audio = torch.randn(1, 2, 800)
    with torch.no_grad():
        assert torch.equal(ours.encode(audio), theirs.encode(audio))
        assert torch.equal(ours.decode(ours.encode(audio)), theirs.decode(theirs.encode(audio)))


def test_a_pretransform_in_a_diffusion_checkpoint(tmp_path: Path) -> None:
    """From the tiny diffusion model of our own configs, as the host's training and unwrapping write it."""
    from stable_audio_tools.models.factory import create_model_from_config

    root = Path(__file__).parents[2]
    path = root / "model_configs" / "ear_ldm_demo.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    model = create_model_from_config(config)
    state = cloned(model.state_dict())
    torch.save({"state_dict": state}, tmp_path / "unwrapped.ckpt")
    torch.save({"state_dict": {f"diffusion.{key}": value for key, value in state.items()}}, tmp_path / "training.ckpt")
    expected = model.pretransform.model.state_dict()
    for name in ("unwrapped.ckpt", "training.ckpt"):
        loaded = ear_sat.load_autoencoder(tmp_path / name, sample_rate=44100, dim_heads=32, final_tanh=False)
        assert loaded.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    del state["pretransform.model.encoder.layers.0.bias"]
    torch.save({"state_dict": state}, tmp_path / "broken.ckpt")
    with pytest.raises(UserError, match=r"1 missing \(encoder\.layers\.0 ×1\)"):
        ear_sat.load_autoencoder(tmp_path / "broken.ckpt")
