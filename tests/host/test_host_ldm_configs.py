"""The released configs of latent diffusion models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stable_audio_tools.models import conditioners, create_model_from_config
from stable_audio_tools.training import create_demo_callback_from_config, create_training_wrapper_from_config

from ear_sat.cli.config import differences
from ear_sat.json_file import load_json

FOLDER = Path(__file__).parents[2] / "model_configs"
DEMOS = ("ear_ldm_demo", "ear_ldm_demo_uncond", "ear_ldm_demo_inpaint")
WIDTHS = conditioners.T5Conditioner.T5_MODEL_DIMS


class Words(conditioners.Conditioner):
    """In place of T5, whose weights are a download: as many tokens of its width."""

    def __init__(self, output_dim, t5_model_name="t5-base", max_length=128):
        super().__init__(WIDTHS[t5_model_name], output_dim)
        self.max_length = max_length

    def forward(self, texts, device):
        return self.proj_out(torch.zeros(len(texts), self.max_length, self.dim)), torch.ones(
            len(texts), self.max_length
        )


def test_every_config_has_its_tests():
    """Those of autoencoders are among the tests of the command line, the host's recipe among those of plans."""
    names = {path.stem for path in FOLDER.glob("*.json")}
    assert {name for name in names if not name.startswith("ear_vae")} == {"ear_ldm", "host_vae", *DEMOS}


def config(name):
    return load_json(FOLDER / f"{name}.json")


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture
def full(monkeypatch):
    """The text-conditioned model, without memory for its weights."""
    monkeypatch.setattr(conditioners, "T5Conditioner", Words)
    with torch.device("meta"):
        return create_model_from_config(config("ear_ldm"))


@pytest.mark.parametrize(("name", "autoencoder"), [("ear_ldm", "ear_vae"), *((name, "ear_vae_demo") for name in DEMOS)])
def test_the_pretransform_is_the_released_autoencoder(name, autoencoder):
    ldm, vae = config(name), config(autoencoder)
    found = {path for path, _, _ in differences(ldm["model"]["pretransform"]["config"], vae["model"])}
    # Of no use to a model that is frozen.
    assert found == {f"{part}.config.gradient_checkpointing" for part in ("encoder", "decoder")}
    assert {key: ldm[key] for key in ("sample_rate", "audio_channels")} == {"sample_rate": 44100, "audio_channels": 2}
    assert ldm["sample_size"] % vae["model"]["downsampling_ratio"] == 0


@pytest.mark.parametrize("name", DEMOS)
def test_demo_models_build_with_nothing_to_download(name):
    ldm = config(name)
    model = create_model_from_config(ldm)
    wrapper = create_training_wrapper_from_config(ldm, model)
    assert count(model.model) < 2e6
    assert create_demo_callback_from_config(ldm, demo_dl=[]).demo_steps == 20
    assert wrapper.configure_optimizers()


def test_demo_variants_differ_where_they_say():
    found = {path for path, _, _ in differences(config("ear_ldm_demo"), config("ear_ldm_demo_inpaint"))}
    assert found == {
        "model_type",
        "model.diffusion.input_concat_ids",
        "model.diffusion.config.input_concat_dim",
        "training.inpainting",
        "training.demo.demo_cond",
        "training.demo.demo_cfg_scales",
    }


def test_the_text_model_takes_64_channels_at_43_hz(full):
    ldm = config("ear_ldm")
    assert full.pretransform.encoded_channels == full.io_channels == 64
    assert 44100 / full.pretransform.downsampling_ratio == pytest.approx(43.07, abs=0.01)
    assert ldm["sample_size"] / 44100 == pytest.approx(47.55, abs=0.01)
    assert list(full.conditioner.conditioners) == ["prompt", "seconds_start", "seconds_total"]
    assert round(count(full.model) / 1e6, 2) == 1056.83  # 0.0.20 has 128 fewer than 0.0.19
    assert round(count(full.pretransform) / 1e6, 2) == 147.83


def test_the_text_model_runs(full):
    """One pass in shapes only, with conditions of every kind."""
    with torch.device("meta"):
        cond = full.conditioner(config("ear_ldm")["training"]["demo"]["demo_cond"], "meta")
        out = full(torch.zeros(4, 64, 2048), torch.zeros(4), cond=cond, cfg_dropout_prob=0.1)
    assert out.shape == (4, 64, 2048)


def test_every_demo_prompt_has_every_condition():
    ldm = config("ear_ldm")
    demo = ldm["training"]["demo"]
    assert len(demo["demo_cond"]) == demo["num_demos"]
    assert all(cond.keys() == {"prompt", "seconds_start", "seconds_total"} for cond in demo["demo_cond"])
