"""Fine-tuning autoencoders of the host's own types with our losses, from a config that ``ear-sat config`` makes."""

from __future__ import annotations

import json

import pytest
import torch
from host_test_autoencoders import (
    OOBLECK,
    audio_for,
    built,
    config_of,
    has_same,
    kinds,
    mean_of,
    save,
    seanet,
    wavelet,
)
from safetensors.torch import load_file
from stable_audio_tools.models import create_model_from_config

import ear_sat
from ear_sat.cli import errors, train
from ear_sat.cli.main import main
from ear_sat.json_file import load_json

DATA = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}
ROUNDS = 4
SMALL = (
    "training.phases.0.steps=1",
    "training.loss_configs.magnitude.config.windows=[256, 128]",
    "training.loss_configs.correlation.config.windows=[256, 128]",
    "training.loss_configs.phase_derivative.config.windows=[256, 128]",
    "training.loss_configs.discriminator.config.filters=2",
    "training.loss_configs.discriminator.config.windows=[256, 128]",
    "training.optimizer_configs.autoencoder.optimizer.config.lr=0.01",
)


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in OOBLECK[:2])) for kind in kinds()])
def model(request, tmp_path):
    config = config_of(request.param)
    theirs = built(config)
    return theirs, config, save(theirs, config, tmp_path / "theirs")


def made(base, weights, tmp_path, *assignments):
    """The config that ``ear-sat config BASE --model-from WEIGHTS`` writes."""
    path = tmp_path / f"{base}.json"
    sets = [word for assignment in assignments for word in ("--set", assignment)]
    assert main(["config", base, "--model-from", str(weights), *sets, "--out", str(path)]) == 0
    return path


def fine_tuned(config, weights, tmp_path, rounds=ROUNDS):
    """The export of a run of a few rounds."""
    (tmp_path / "data.json").write_text(json.dumps(DATA), encoding="utf-8")
    flags = ["--model-config", config, "--pretrained-ckpt-path", weights, "--dataset-config", tmp_path / "data.json"]
    flags += ["--name", "run", "--save-dir", tmp_path / "runs", "--batch-size", 1, "--num-workers", 0]
    flags += ["--accelerator", "cpu", "--max-steps", rounds]
    assert errors.run(lambda: train.main([str(flag) for flag in flags])) == 0
    return tmp_path / "runs" / "run" / "export"


def loaded_by_the_host(export):
    model = create_model_from_config(load_json(export / "model_config.json")).eval()
    model.load_state_dict(load_file(export / "model.safetensors"), strict=True)
    return model


def test_the_whole_model_trains_at_its_own_rate_and_ratio(model, tmp_path):
    theirs, config, folder = model
    written = made("ear_vae_finetune", folder, tmp_path, *SMALL, f"sample_size={config['sample_size']}")
    assert load_json(written)["sample_rate"] == config["sample_rate"]
    export = fine_tuned(written, folder, tmp_path, rounds=10)
    before, after = theirs.state_dict(), loaded_by_the_host(export).state_dict()
    for part in ("encoder.", "decoder."):
        assert any(not torch.equal(after[key], value) for key, value in before.items() if key.startswith(part))
    clip = audio_for(config, 8)
    with torch.no_grad():
        latents = mean_of(loaded_by_the_host(export), clip)[..., :8]
        torch.testing.assert_close(ear_sat.load_autoencoder(export).encode(clip), latents, rtol=0, atol=1e-5)


def test_the_decoder_alone_trains_and_the_latents_stay(model, tmp_path):
    theirs, config, folder = model
    written = made("ear_vae_finetune_decoder", folder, tmp_path, *SMALL, f"sample_size={config['sample_size']}")
    tuned = loaded_by_the_host(fine_tuned(written, folder, tmp_path))
    clip = audio_for(config, 8)
    with torch.no_grad():
        latents = mean_of(theirs, clip)
        assert torch.equal(mean_of(tuned, clip), latents)
        assert not torch.equal(tuned.decode(latents), theirs.decode(latents))


@pytest.mark.parametrize(("make", "package"), [(wavelet, "pywt"), (seanet, "encodec")])
def test_parts_that_are_no_oobleck_train(make, package, tmp_path):
    """Wavelets cannot be built without numbers; the host's factory turns the ratios of "seanet" round at each call."""
    pytest.importorskip(package)
    config = make()
    theirs = built(config)
    folder = save(theirs, config, tmp_path / "theirs")
    written = made("ear_vae_finetune_decoder", folder, tmp_path, *SMALL, f"sample_size={config['sample_size']}")
    tuned = loaded_by_the_host(fine_tuned(written, folder, tmp_path, rounds=2))
    clip = audio_for(config, 8)
    with torch.no_grad():
        latents = mean_of(theirs, clip)
        assert torch.equal(mean_of(tuned, clip), latents)
        assert not torch.equal(tuned.decode(latents), theirs.decode(latents))


def test_an_export_of_the_hosts_own_training_counts(tmp_path):
    """The config has the host's training section, which is not ours to read."""
    stock = load_json("tests/data/host_stock_vae.json")
    folder = save(built(stock), stock, tmp_path / "export", "model.safetensors")
    assert ear_sat.load_autoencoder(folder).latent_dim == 8
    config = load_json(made("ear_vae_finetune", folder, tmp_path))
    assert config["training"]["type"] == "ear" and config["model"]["encoder"]["type"] == "oobleck"


def test_what_was_frozen_in_their_training_trains_again(tmp_path):
    config = config_of("mono")
    config["model"]["encoder"]["requires_grad"] = False
    folder = save(built(config), config, tmp_path / "theirs")
    assert "requires_grad" not in load_json(made("ear_vae_finetune", folder, tmp_path))["model"]["encoder"]
    decoder_only = load_json(made("ear_vae_finetune_decoder", folder, tmp_path))["model"]
    assert decoder_only["encoder"]["requires_grad"] is False and decoder_only["bottleneck"]["requires_grad"] is False


@pytest.mark.parametrize(
    ("kind", "loss"), [("tanh", None), ("wasserstein", {"mmd": 100.0}), ("softnorm", {"softnorm_loss": 1e-5})]
)
def test_the_bottleneck_brings_its_own_loss(kind, loss, tmp_path):
    if kind == "softnorm" and not has_same():
        pytest.skip("the installed host has no softnorm")
    config = config_of("mono", bottleneck={"type": kind, "config": {"dim": 4} if kind == "softnorm" else {}})
    config["model"]["encoder"]["config"]["latent_dim"] = 4
    folder = save(built(config), config, tmp_path / "theirs")
    losses = load_json(made("ear_vae_finetune", folder, tmp_path))["training"]["loss_configs"]
    assert losses.get("bottleneck", {}).get("weights") == loss


def test_codebooks_cannot_be_frozen(tmp_path, capsys):
    pytest.importorskip("vector_quantize_pytorch")
    quantizer = {"dim": 4, "codebook_size": 8, "num_quantizers": 1, "kmeans_init": False}
    config = config_of("mono", bottleneck={"type": "rvq", "config": quantizer})
    config["model"]["encoder"]["config"]["latent_dim"] = 4
    folder = save(built(config), config, tmp_path / "theirs")
    assert main(["config", "ear_vae_finetune_decoder", "--model-from", str(folder)]) == 1
    assert "the codebooks of a bottleneck rvq follow the data in training" in capsys.readouterr().err


def test_a_config_alone_describes_nothing(capsys):
    assert main(["config", "ear_vae", "--model-config", "mine.json"]) == 1
    assert "--model-config goes with --model-from" in capsys.readouterr().err
