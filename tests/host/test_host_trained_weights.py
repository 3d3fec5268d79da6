"""What a training leaves behind can be given to every command: the run, its export and a checkpoint of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from host_test_autoencoders import mean_of
from host_test_configs import audio
from stable_audio_tools.models import create_model_from_config

from ear_sat.cli import errors, train
from ear_sat.cli.main import main
from ear_sat.json_file import load_json
from ear_sat.named_configs import MODEL, load_config
from ear_sat.weights import read_checkpoint

RATE = 22050  # which nobody would assume
DATA = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}
SOURCES = ("", "export", "checkpoints/step-1.ckpt")


def _stock():
    """The host's own parts in the host's own wrapper."""
    return load_json("tests/data/host_stock_vae.json")


def _small(name):
    """One of our configs, a few channels wide."""
    config = load_config(name, MODEL)
    for part in ("encoder", "decoder"):
        config["model"][part]["config"] |= {"channels": 2, "gradient_checkpointing": False}
    config["training"]["loss_configs"]["discriminator"]["config"]["filters"] = 2
    return config


def _ours_in_the_hosts_wrapper():
    return _small("host_vae")


def _stock_in_our_wrapper():
    training = _small("ear_vae_finetune")["training"]
    training["phases"][0]["steps"] = 1
    return {**_stock(), "training": training}


@pytest.fixture(scope="module", params=[_stock, _ours_in_the_hosts_wrapper, _stock_in_our_wrapper])
def run(request, tmp_path_factory):
    """The folder of a run of two rounds."""
    folder = tmp_path_factory.mktemp("trained")
    config = request.param() | {"sample_rate": RATE, "sample_size": 8192}
    (folder / "model.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(DATA), encoding="utf-8")
    trained(folder, folder / "model.json", "run", "--checkpoint-every", 1, "--max-steps", 2)
    return folder / "runs" / "run"


def trained(folder, config, name, *more):
    flags = ["--model-config", config, "--dataset-config", folder / "data.json", "--save-dir", folder / "runs"]
    flags += ["--name", name, "--accelerator", "cpu", "--batch-size", 1, "--num-workers", 0, *more]
    assert errors.run(lambda: train.main([str(flag) for flag in flags])) == 0


@pytest.fixture
def music(tmp_path):
    path = tmp_path / "music" / "song.wav"
    path.parent.mkdir()
    soundfile.write(path, audio(1, size=16 * 1024)[0].T.numpy(), RATE, "FLOAT")
    return path.parent


@pytest.fixture
def command(capfd):
    """Runs ``ear-sat ARGS…``, which must end well and may assume nothing; returns what it prints."""

    def call(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert code == 0 and "assumed as" not in err, err
        return out

    return call


@pytest.mark.parametrize("source", SOURCES)
@torch.no_grad()
def test_they_are_the_models_that_the_host_builds(run, source, music, tmp_path, command):
    found = json.loads(command("inspect", run / source, "--json"))
    assert found["sample_rate"] == RATE and found["assumed"] == []
    command("reconstruct", music, "--out", tmp_path / "out", "--weights", run / source, "--subtype", "float")
    theirs = create_model_from_config(load_json(run / "model_config.json")).eval()
    theirs.load_state_dict(read_checkpoint(run / source).state, strict=True)
    original, result = (
        torch.from_numpy(soundfile.read(place / "song.wav", dtype="float32")[0]).T[None]
        for place in (music, tmp_path / "out")
    )
    torch.testing.assert_close(result, theirs.decode(mean_of(theirs, original)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("source", [SOURCES[0], *(pytest.param(s, marks=pytest.mark.slow) for s in SOURCES[1:])])
def test_every_other_command_takes_them(run, source, music, tmp_path, command):
    weights, out = ("--weights", run / source), tmp_path / "report"
    measured = command("evaluate", *weights, "--data", music, "--out", out, "--processes", 1, "--audio", "none")
    assert "1 pair(s) measured, 0 failed" in measured
    (made,) = (out / "reconstructions").rglob("*.wav")
    assert soundfile.info(made).samplerate == RATE
    windows = (*weights, "--data", music, "--sample-size", 8192)
    command("latent-stats", *windows)
    command("pre-encode", *windows, "--out", tmp_path / "latents")
    assert load_json(next((tmp_path / "latents").rglob("details.json")))["sample_rate"] == RATE
    tuned = tmp_path / "tuned.json"
    sets = ("--set", "training.loss_configs.discriminator.config.filters=2", "--set", "training.phases.0.steps=1")
    sets += ("--set", "sample_size=8192")
    command("config", "ear_vae_finetune", "--model-from", run / source, *sets, "--out", tuned)
    assert load_json(tuned)["sample_rate"] == RATE
    (tmp_path / "data.json").write_text(json.dumps(DATA), encoding="utf-8")
    trained(tmp_path, tuned, "tuned", "--pretrained-ckpt-path", run / source, "--max-steps", 1)
    assert Path(tmp_path / "runs" / "tuned" / "export" / "model.safetensors").is_file()
