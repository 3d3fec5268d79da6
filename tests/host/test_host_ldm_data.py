"""Audio where latents are expected, and the reverse: one sentence before the run folder, or at the first step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from host_test_configs import audio, changed, fit
from host_test_ldm import KINDS, autoencoder, infos, ldm_config, make_ldm, write_latents

from ear_sat import UserError
from ear_sat.cli import errors, train

AUDIO = {"dataset_type": "ear_demo", "tracks": 1, "seconds": 2.0, "crops_per_track": 2}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": autoencoder().state_dict()}, tmp_path / "vae.ckpt")
    return tmp_path


def refused(folder, capsys, config, data, batch_size=1):
    """The error line of the script, which must have left no run folder."""
    (folder / "tiny.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    flags = ["--model-config", "tiny.json", "--dataset-config", "data.json", "--pretransform-ckpt-path", "vae.ckpt"]
    flags += ["--batch-size", str(batch_size), "--num-workers", "0", "--accelerator", "cpu", "--max-steps", "1"]
    assert errors.run(lambda: train.main(flags)) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and not (folder / "runs").exists()
    return lines[0]


@pytest.mark.parametrize("kind", KINDS)
def test_audio_for_a_model_of_latents(folder, capsys, kind):
    line = refused(folder, capsys, ldm_config(kind, pre_encoded=True), AUDIO)
    assert "training.pre_encoded is true, but the data set yields audio (2 channels)" in line


@pytest.mark.parametrize("kind", KINDS)
def test_latents_for_a_model_of_audio(folder, capsys, kind):
    data = write_latents(folder / "latents", audio(2), autoencoder())
    line = refused(folder, capsys, ldm_config(kind), data)
    assert "the data set yields latents (32 channels), but training.pre_encoded is false; set it to true" in line


def test_latents_of_another_autoencoder(folder, capsys):
    data = write_latents(folder / "latents", audio(2), autoencoder())
    for file in (folder / "latents").glob("*.npy"):
        np.save(file, np.zeros((48, 128), np.float32))
    line = refused(folder, capsys, ldm_config(pre_encoded=True), data)
    assert "latents of 48 channels, but the pretransform's have 32; encode the data with this pretransform" in line


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("diffusion_cond", "model.io_channels"),
        ("diffusion_cond", "model.diffusion.config.io_channels"),
        ("diffusion_uncond", "model.config.in_channels"),
    ],
)
def test_a_network_for_other_latents(folder, capsys, kind, key):
    line = refused(folder, capsys, changed(ldm_config(kind), key, 48), AUDIO)
    assert "made for 48 channels, but its pretransform's latents have 32; set every io_channels" in line


def test_a_missing_condition_is_named(folder, capsys):
    config = ldm_config()
    config["model"]["conditioning"]["configs"][0]["id"] = "tempo"
    line = refused(folder, capsys, config, AUDIO)
    assert "conditioned on tempo, which the data set's items do not have" in line


def test_fewer_latents_than_a_batch(folder, capsys):
    """The host drops the only batch, and the run would end after no rounds as if all were well."""
    data = write_latents(folder / "latents", audio(2), autoencoder())
    line = refused(folder, capsys, ldm_config(pre_encoded=True), data, batch_size=5)
    assert "the data set has 2 items, fewer than a batch of 5: lower --batch-size" in line


def test_latents_that_cannot_be_read(folder, capsys):
    data = write_latents(folder / "latents", audio(2), autoencoder())
    for file in (folder / "latents").glob("*.json"):
        file.unlink()
    assert "no item of the data set could be used" in refused(folder, capsys, ldm_config(pre_encoded=True), data)


def test_a_folder_without_latents(folder, capsys):
    (folder / "empty").mkdir()
    data = {"dataset_type": "pre_encoded", "datasets": [{"id": "x", "path": "empty"}]}
    assert "the data set is empty" in refused(folder, capsys, ldm_config(pre_encoded=True), data)


@pytest.mark.parametrize(("pre_encoded", "channels", "size"), [(True, 2, 4096), (False, 32, 128), (True, 48, 128)])
def test_a_stream_is_checked_at_the_first_step(pre_encoded, channels, size):
    wrapper = make_ldm(ldm_config(pre_encoded=pre_encoded))
    with pytest.raises(UserError, match="the data set yields"):
        fit(wrapper, [(torch.zeros(2, channels, size), infos(2))])


def test_shards_have_another_axis():
    clips = audio(2)
    fit(make_ldm(ldm_config("diffusion_uncond")), [(clips.unsqueeze(0), infos(2))])
