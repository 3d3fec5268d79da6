"""Every command that takes weights takes a folder with an autoencoder of the host's own types."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from host_test_autoencoders import OOBLECK, built, config_of, kinds, mean_of, save
from host_test_configs import audio
from safetensors.torch import load_file
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.utils import load_ckpt_state_dict

import ear_sat
from ear_sat.cli.main import main
from ear_sat.codecs import facts_of
from ear_sat.weights import read_checkpoint


@pytest.fixture
def ear_sat_command(capfd):
    """Runs ``ear-sat ARGS…`` in this process; returns what it prints. It must end well."""

    def run(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in OOBLECK[:2])) for kind in kinds()])
def model(request, tmp_path):
    """The host's model, its config, and the folder it was saved in."""
    config = config_of(request.param)
    theirs = built(config)
    return theirs, config, save(theirs, config, tmp_path / "theirs")


@pytest.fixture
def music(model, tmp_path):
    """A folder of one file at the model's rate, 2 s."""
    _, config, _ = model
    rate, channels = config["sample_rate"], config["audio_channels"]
    samples = audio(1, channels, 2 * rate)[0].T.numpy().astype(np.float32)
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music" / "song.wav", samples, rate, "FLOAT")
    return tmp_path / "music"


def loaded_by_the_host(folder):
    config = json.loads((folder / "model_config.json").read_text(encoding="utf-8"))
    theirs = create_model_from_config(config).eval()
    theirs.load_state_dict(load_ckpt_state_dict(str(folder / "model.safetensors")), strict=True)
    return theirs


def test_inspect_and_export(model, tmp_path, ear_sat_command):
    theirs, config, folder = model
    found = json.loads(ear_sat_command("inspect", folder, "--json"))
    parts = config["model"]
    assert found["model_config"]["model"] == parts
    assert found["parameters"] == sum(p.numel() for p in theirs.parameters())
    assert found["latent_rate"] == config["sample_rate"] / parts["downsampling_ratio"]
    assert found["chunks"].startswith("exact" if parts["encoder"]["type"] == "oobleck" else "approximate")
    described = ear_sat_command("inspect", folder)
    assert all(part in described for part in (parts["encoder"]["type"], parts["bottleneck"]["type"], "chunks"))
    ear_sat_command("export", folder, tmp_path / "hub", "--format", "hub")
    again = loaded_by_the_host(tmp_path / "hub").state_dict()
    assert all(torch.equal(again[key], value) for key, value in theirs.state_dict().items())
    ear_sat_command("export", tmp_path / "hub", tmp_path / "alone" / "model.ckpt")
    alone = read_checkpoint(tmp_path / "alone" / "model.ckpt")
    assert alone.model_config["model"] == parts and alone.state.keys() == again.keys()


@torch.no_grad()
def test_reconstruct(model, music, tmp_path, ear_sat_command, caplog):
    theirs, config, folder = model
    convolutional = config["model"]["encoder"]["type"] == "oobleck"  # chunks of another are approximate, and it says so
    options = ("--weights", folder, "--subtype", "float")
    ear_sat_command("reconstruct", music, "--out", tmp_path / "out", *options)
    assert convolutional != any("chunks are approximate, since" in record.message for record in caplog.records)
    if not convolutional:
        ear_sat_command("reconstruct", music, "--out", tmp_path / "whole", *options, "--chunk-seconds", 1e9)
    made = tmp_path / ("out" if convolutional else "whole") / "song.wav"
    result, rate = soundfile.read(made, dtype="float32", always_2d=True)
    original, _ = soundfile.read(music / "song.wav", dtype="float32", always_2d=True)
    assert result.shape == original.shape and rate == config["sample_rate"]
    hop = config["model"]["downsampling_ratio"]
    whole = torch.from_numpy(np.pad(original, ((0, -len(original) % hop), (0, 0)))).T[None]
    latents = mean_of(theirs, whole)[..., : whole.shape[-1] // hop]
    expected = theirs.decode(latents)[0, :, : len(original)]
    torch.testing.assert_close(torch.from_numpy(result).T, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_latent_stats_and_pre_encode(model, music, tmp_path, ear_sat_command):
    theirs, config, folder = model
    hop = config["model"]["downsampling_ratio"]
    size = rate = config["sample_rate"]
    size -= rate % hop
    options = ("--weights", folder, "--data", music, "--sample-size", size)
    ear_sat_command("latent-stats", *options, "--noise-snr", 10, "--out", tmp_path / "stats")
    ear_sat_command("pre-encode", *options, "--out", tmp_path / "latents", "--limit", 1)
    (file,) = (tmp_path / "latents").rglob("*.npy")
    original, _ = soundfile.read(music / "song.wav", dtype="float32", always_2d=True)
    expected = mean_of(theirs, torch.from_numpy(original[:size]).T[None])[0, :, : size // hop]
    torch.testing.assert_close(torch.from_numpy(np.load(file)), expected, rtol=0, atol=1e-5)
    stats = json.loads((tmp_path / "stats" / "latent_stats.json").read_text(encoding="utf-8"))
    assert stats["scale"] > 0 and (stats["kl"] is None) == (config["model"]["bottleneck"]["type"] != "vae")


@pytest.mark.slow
def test_several_processes_encode(tmp_path, ear_sat_command):
    config = config_of("mono")
    folder = save(built(config), config, tmp_path / "theirs")
    for name in ("a", "b"):
        path = tmp_path / "music" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, audio(1, 1, 32000)[0].T.numpy(), config["sample_rate"])
    options = ("--weights", folder, "--data", tmp_path / "music", "--sample-size", 16000, "--out", tmp_path / "latents")
    ear_sat_command("pre-encode", *options, "--processes", 2)
    assert len(list((tmp_path / "latents").rglob("*.npy"))) == 4


@pytest.mark.slow
def test_evaluate(model, music, tmp_path, ear_sat_command):
    _, _, folder = model
    options = ("--weights", folder, "--data", music, "--out", tmp_path / "report", "--processes", 1, "--audio", "none")
    assert "1 pair(s) measured, 0 failed" in ear_sat_command("evaluate", *options)


def test_a_config_given_by_hand(tmp_path, ear_sat_command):
    config = config_of("mono")
    folder = save(built(config), config, tmp_path / "theirs")
    (folder / "model_config.json").rename(tmp_path / "mine.json")
    options = ("--model-config", tmp_path / "mine.json")
    assert "oobleck" in ear_sat_command("inspect", folder / "model.ckpt", *options)
    ear_sat_command("export", folder, tmp_path / "hub", "--format", "hub", *options)
    assert ear_sat.load_autoencoder(tmp_path / "hub").sample_rate == 16000


def test_every_oobleck_kind_is_among_them():
    assert set(OOBLECK) <= set(kinds())


@torch.no_grad()
def test_export_to_diffusers_and_onnx(tmp_path, ear_sat_command):
    """A stock VAE whose sizes are those that diffusers' class can be; the tensors are the host's own."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, which goes with onnx")
    config = config_of("mono")
    for part in ("encoder", "decoder"):
        config["model"][part]["config"]["channels"] = 8
    theirs = built(config)
    folder = save(theirs, config, tmp_path / "theirs")
    assert ear_sat_command("export", folder, tmp_path / "m.onnx").count("of the model at") == 2
    ear_sat_command("export", folder, tmp_path / "diffusers", "--format", "diffusers")
    layout = json.loads((tmp_path / "diffusers" / "config.json").read_text(encoding="utf-8"))
    assert layout["downsampling_ratios"] == [2, 4, 4] and layout["encoder_hidden_size"] == 8
    tensors = load_file(tmp_path / "diffusers" / "diffusion_pytorch_model.safetensors")
    ours = theirs.state_dict()
    assert torch.equal(tensors["encoder.conv1.weight_v"], ours["encoder.layers.0.weight_v"])
    assert torch.equal(
        tensors["decoder.block.2.res_unit3.snake2.beta"].flatten(), ours["decoder.layers.3.layers.4.layers.2.beta"]
    )


@pytest.mark.parametrize("target", ["m.onnx", "folder"])
def test_what_the_host_computes_is_not_exported(target, tmp_path, capfd):
    if "same" not in kinds():
        pytest.skip("the installed host has no SAME")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, which goes with onnx")
    config = config_of("same")
    folder = save(built(config), config, tmp_path / "theirs")
    options = [] if target == "m.onnx" else ["--format", "diffusers"]
    assert main(["export", str(folder), str(tmp_path / target), *options]) == 1
    assert "SAMEEncoder" in capfd.readouterr().err and not (tmp_path / target).exists()


@pytest.mark.slow
def test_as_a_codec_beside_another(model, music, tmp_path, ear_sat_command):
    _, config, folder = model
    options = ("--reference", music, "--codec", f"theirs={folder}", "--out", tmp_path / "report", "--audio", "none")
    assert "1 pair(s) measured, 0 failed" in ear_sat_command("evaluate", *options, "--processes", 1)
    found = json.loads((tmp_path / "report" / "results.json").read_text(encoding="utf-8"))["systems"]["theirs"]["codec"]
    parts = config["model"]
    assert found["latent_rate"] == config["sample_rate"] / parts["downsampling_ratio"]
    assert found["latent_channels"] == parts["latent_dim"]
    assert found["values_per_s"] == 2 / config["audio_channels"] * found["latent_rate"] * parts["latent_dim"]


def test_codebooks_have_a_bit_rate(tmp_path):
    pytest.importorskip("vector_quantize_pytorch")
    quantizer = {"dim": 4, "codebook_size": 8, "num_quantizers": 2, "kmeans_init": False}
    config = config_of("mono", bottleneck={"type": "rvq", "config": quantizer})
    config["model"]["encoder"]["config"]["latent_dim"] = 4
    facts = facts_of(ear_sat.load_autoencoder(save(built(config), config, tmp_path)))
    assert (facts.codebooks, facts.latent_channels, facts.values_per_s) == (2, None, None)
    assert facts.kbit_per_s == pytest.approx(2 * 500 * 2 * 3 / 1000)  # both channels, 500 frames, 2 codes of 3 bits
