"""Autoencoders of the host's own types, loaded: the host's result, in chunks and in inference mode too."""

from __future__ import annotations

import importlib
import re
import sys

import pytest
import torch
from host_test_autoencoders import (
    BANDS,
    OOBLECK,
    audio_for,
    built,
    config_of,
    dac,
    has_same,
    kinds,
    mean_of,
    save,
    seanet,
    taae,
    wavelet,
)
from host_test_configs import RATE, changed, model_config
from stable_audio_tools.models import create_model_from_config

import ear_sat
from ear_sat import UserError
from ear_sat.host import opening
from ear_sat.models import chunks_in_words, context_frames, foreign_layers, optimize_for_inference
from ear_sat.models.optimized import _Convolution, _Periodic
from ear_sat.models.snake import SnakeBeta

needs_same = pytest.mark.skipif(not has_same(), reason="the installed host has no SAME")


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "name"), [*((kind, "model.ckpt") for kind in OOBLECK), ("mono", "model.safetensors")])
def test_an_oobleck_model_is_the_hosts(kind, name, tmp_path):
    config = config_of(kind)
    theirs = built(config)
    ours = ear_sat.load_autoencoder(save(theirs, config, tmp_path, name))
    audio = audio_for(config, 20.4)
    latents = mean_of(theirs, audio)
    decoded = theirs.decode(latents)
    assert (ours.sample_rate, ours.latent_dim, ours.io_channels) == (config["sample_rate"], 4, config["audio_channels"])
    for _ in range(2):  # as it is loaded, then in inference mode
        close(ours.encode(audio), latents)
        close(ours.decode(latents), decoded)
        close(ours.encode_audio(audio, chunked=True, chunk_size=9), latents)
        close(ours.decode_audio(latents, chunked=True, chunk_size=9), decoded)
        if any(isinstance(module, SnakeBeta) for module in ours.modules()):
            optimize_for_inference(ours)
    kinds_of_layers = {type(module) for module in ours.modules()}
    assert {_Convolution, _Periodic} <= kinds_of_layers and SnakeBeta not in kinds_of_layers
    assert chunks_in_words(ours).startswith("exact: ") and not foreign_layers(ours)


@pytest.mark.parametrize("sides", [{"use_snake": False}, {"antialias_activation": True}])
@pytest.mark.parametrize("nearest", [False, True])
def test_every_form_of_an_oobleck_network(sides, nearest, tmp_path):
    config = config_of("mono")
    for part in ("encoder", "decoder"):
        config["model"][part]["config"] |= sides
    config["model"]["decoder"] |= {"soft_clip": True}
    config["model"]["decoder"]["config"] |= {"final_tanh": not nearest, "use_nearest_upsample": nearest}
    theirs, audio = built(config), audio_for(config, 40)
    ours = ear_sat.load_autoencoder(save(theirs, config, tmp_path))
    latents = mean_of(theirs, audio)
    close(ours.encode_audio(audio, chunked=True, chunk_size=5), latents)
    close(ours.decode_audio(latents, chunked=True, chunk_size=5), theirs.decode(latents))


@needs_same
def test_a_transformer_is_the_hosts_and_its_chunks_are_approximate(tmp_path):
    config = config_of("same")
    theirs = built(config)
    ours = ear_sat.load_autoencoder(save(theirs, config, tmp_path))
    audio = audio_for(config, 200)
    latents = mean_of(theirs, audio)[..., :200]
    close(ours.encode(audio), latents)
    close(ours.decode(latents), theirs.decode(latents)[..., : audio.shape[-1]])
    assert context_frames(ours.encoder) == context_frames(ours.decoder) == (16, 16)
    assert chunks_in_words(ours).startswith("approximate, since the host's PatchedPretransform with the host's SAME")
    with pytest.raises(UserError, match="float32 only; leave out --precision bf16"):
        optimize_for_inference(ours, "bf16")
    optimize_for_inference(ours)
    close(ours.encode(audio), latents)


def test_patches_around_convolutions_are_exact(tmp_path):
    config = config_of("mono", pretransform={"type": "patched", "config": {"channels": 1, "patch_size": 4}})
    config["model"]["encoder"]["config"]["in_channels"] = config["model"]["decoder"]["config"]["out_channels"] = 4
    config["model"]["downsampling_ratio"] *= 4
    theirs = built(config)
    ours = optimize_for_inference(ear_sat.load_autoencoder(save(theirs, config, tmp_path)))
    audio = audio_for(config, 50)
    latents = mean_of(theirs, audio)
    close(ours.encode_audio(audio, chunked=True, chunk_size=5), latents)
    close(ours.decode_audio(latents, chunked=True, chunk_size=5), theirs.decode(latents))


@pytest.mark.parametrize(
    ("make", "package"),
    [(dac, "dac"), (seanet, "encodec"), (lambda: seanet(causal=True), "encodec"), (wavelet, "pywt")],
)
def test_the_reach_of_other_convolutions_is_measured(make, package, tmp_path):
    pytest.importorskip(package)
    config = make()
    theirs = built(config)
    ours = ear_sat.load_autoencoder(save(theirs, config, tmp_path))
    assert chunks_in_words(ours).startswith("exact: ") and len(foreign_layers(ours)) == 2
    audio = audio_for(config, 60)
    latents = mean_of(theirs, audio)
    close(ours.encode_audio(audio, chunked=True, chunk_size=7), latents)
    close(ours.decode_audio(latents, chunked=True, chunk_size=7), theirs.decode(latents))


@pytest.mark.parametrize(
    ("make", "seeing"),
    [
        (lambda: seanet(lstm=1), "the host's SEANetEncoder and the host's SEANetDecoder"),
        (lambda: seanet(norm="time_group_norm"), "the host's SEANetEncoder and the host's SEANetDecoder"),
        pytest.param(taae, "the host's TAAEEncoder and the host's TAAEDecoder", marks=needs_same),
    ],
)
def test_what_sees_everything_is_the_hosts_as_a_whole(make, seeing, tmp_path):
    """``taae`` of 0.0.19 cannot be built: its attention takes no ``sliding_window``."""
    pytest.importorskip("encodec")
    config = make()
    theirs = built(config)
    ours = ear_sat.load_autoencoder(save(theirs, config, tmp_path))
    assert chunks_in_words(ours).startswith(f"approximate, since {seeing} see further: 16 + 16 latent frames")
    audio = audio_for(config, 60)
    latents = mean_of(theirs, audio)
    close(ours.encode(audio), latents)
    close(ours.decode(latents), theirs.decode(latents))


def _of_two_ratios():
    """An encoder of ×20 and a decoder of ×40."""
    config = seanet()
    config["model"]["encoder"]["config"]["ratios"] = [2, 2, 5]
    return config


@pytest.mark.parametrize(
    ("make", "ratio"),
    [
        *((lambda: config_of("same"), ratio) for ratio in (16, 31, 48, 64)),  # which fills up to 1024 samples
        (seanet, 80),
        (seanet, 4),
        (_of_two_ratios, 40),
        (wavelet, 64),
        (lambda: dac((2, 4, 5)), 40),  # whose decoder loses samples at odd strides
    ],
)
def test_another_ratio_than_that_of_networks_that_are_not_known(make, ratio, tmp_path):
    config = make()
    needed = {"same": "stable_audio_tools", "seanet": "encodec", "dac": "dac", "oobleck": "pywt"}
    pytest.importorskip(needed[config["model"]["encoder"]["type"]])
    if config["model"]["encoder"]["type"] == "same" and not has_same():
        pytest.skip("the installed host has no SAME")
    folder = save(built(config), changed(config, "model.downsampling_ratio", ratio), tmp_path)
    assert f"coder does not have {ratio} samples to a latent frame, as the downsampling_ratio in" in refused(folder)


@pytest.mark.parametrize(
    ("part", "what", "words"),
    [
        ("pretransform", {"type": "pqmf", "config": {"channels": 1}}, r"cannot build a pretransform 'pqmf' \(.+\); "),
        ("pretransform", {"type": "wavelet", "config": BANDS | {"wavelet": "x"}}, "'wavelet'|Unknown wavelet"),
        ("bottleneck", {"type": "fsq", "config": {"levels": [4] * 8}}, "its bottleneck, the host's FSQBottleneck, fa"),
        ("encoder", {"type": "dac", "config": {"d_model": 2, "strides": [2]}}, "it needs the Python module dac"),
    ],
)
def test_a_part_that_the_host_cannot_use(part, what, words, tmp_path, monkeypatch):
    """A prototype of "pqmf" needs an older scipy; "fsq" gives one index where the host wants one per codebook."""
    for name in ("dac", "dac.model.dac"):
        monkeypatch.setitem(sys.modules, name, None)
    folder = save(built(config_of("mono")), config_of("mono", **{part: what}), tmp_path)
    sentence = refused(folder)
    assert re.search(words, sentence) and "\n" not in sentence and "model.ckpt" in sentence, sentence


@pytest.mark.parametrize("bottleneck", [None, {"type": "tanh"}, {"type": "l2_norm"}])
def test_latents_that_are_no_draw_have_no_deviation(bottleneck, tmp_path):
    config = config_of("mono", bottleneck=bottleneck)
    config["model"]["encoder"]["config"]["latent_dim"] = 4
    theirs, audio = built(config), audio_for(config, 9)
    ours = ear_sat.load_autoencoder(save(theirs, config, tmp_path))
    latents, info = ours.encode(audio, return_info=True)
    close(latents, theirs.encode(audio))
    close(ours.decode(latents), theirs.decode(latents))
    assert not info["std"].any() and "kl" not in info


def test_the_posterior_is_the_hosts(tmp_path):
    config = config_of("mono")
    theirs, audio = built(config), audio_for(config, 9)
    ours = ear_sat.load_autoencoder(save(theirs, config, tmp_path))
    _, info = ours.encode(audio, return_info=True)
    torch.manual_seed(3)
    drawn = theirs.encode(audio)
    torch.manual_seed(3)
    close(info["mean"] + info["std"] * torch.randn_like(info["mean"]), drawn)


def test_a_model_config_that_is_given_takes_the_place_of_the_one_beside(tmp_path):
    config = config_of("mono")
    theirs = built(config)
    folder = save(theirs, config, tmp_path / "theirs")
    other = tmp_path / "mine.json"
    (folder / "model_config.json").rename(other)
    audio = audio_for(config, 9)
    close(ear_sat.load_autoencoder(folder, model_config=other).encode(audio), mean_of(theirs, audio))
    save(theirs, config_of("ace-step"), folder)
    close(ear_sat.load_autoencoder(folder / "model.ckpt", model_config=other).encode(audio), mean_of(theirs, audio))


def refused(path, **known):
    with pytest.raises(UserError) as error:
        ear_sat.load_autoencoder(path, **known)
    return str(error.value)


def test_without_its_config_it_is_named(tmp_path):
    save(built(config_of("mono")), {}, tmp_path)
    (tmp_path / "model_config.json").unlink()
    assert refused(tmp_path).endswith("put its model_config.json beside it, or give --model-config")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "model.downsampling_ratio",
            16,
            "32 samples to a latent frame, and its model config says downsampling_ratio 16",
        ),
        ("model.latent_dim", 5, "it makes latents of 4 channels and length 2, where its model config says 5 and 2"),
        ("model.encoder.config.channels", 3, "does not fit its model config: .* of another shape"),
        ("model.decoder.config.c_mults", [1, 2], "does not fit its model config: .* unexpected"),
        ("model.encoder.type", "ooblek", "unknown encoder type 'ooblek'; did you mean 'oobleck'"),
        ("model.encoder.config.width", 3, "the host cannot build the model config of .*width"),
        ("sample_rate", 0, "sample_rate must be a whole number of at least 1, not 0"),
        (
            "model.bottleneck.type",
            "tanh",
            "it makes latents of 8 channels and length 2, where its model config says 4 and 2",
        ),
    ],
)
def test_a_config_that_contradicts_the_tensors(path, value, words, tmp_path):
    config = config_of("mono")
    sentence = refused(save(built(config), changed(config, path, value), tmp_path))
    assert re.search(words, sentence), sentence
    assert "\n" not in sentence and "model.ckpt" in sentence


def test_what_the_config_says_is_not_to_be_given(tmp_path):
    config = config_of("mono")
    folder = save(built(config), config, tmp_path)
    assert "sample_rate of" in refused(folder, sample_rate=44100)
    ear_sat.load_autoencoder(folder, sample_rate=16000)


def test_a_config_of_something_else(tmp_path):
    save(built(config_of("mono")), {"dataset_type": "audio_dir"}, tmp_path)
    given = tmp_path / "model_config.json"
    assert f"{given} is not the config of an autoencoder" in refused(tmp_path, model_config=given)


def test_a_host_that_is_not_installed(tmp_path, monkeypatch):
    folder = save(built(config_of("mono")), config_of("mono"), tmp_path)

    def absent(name):
        raise ModuleNotFoundError(name="stable_audio_tools")

    monkeypatch.setattr(importlib, "import_module", absent)
    sentence = refused(folder)
    assert "is an autoencoder of stable-audio-tools, whose code builds it: stable-audio-tools is not inst" in sentence


@pytest.mark.parametrize("keys", [{"gen_ema": {}}, {"refiner.layers.0.weight": torch.zeros(1)}])
def test_the_second_model_of_the_authors_is_named(keys, tmp_path):
    torch.save(keys, tmp_path / "a.pyt")
    assert f"is a checkpoint of εar-VAE2 (keys {next(iter(keys)).split('.')[0]})" in refused(tmp_path / "a.pyt")


def test_our_own_model_with_its_config_beside_it_needs_no_host(tmp_path, monkeypatch):
    config = model_config()
    save(create_model_from_config(config), config, tmp_path)
    monkeypatch.setattr(opening, "build_with_host", lambda _: pytest.fail("not ours"))
    for path in (tmp_path, tmp_path / "model.ckpt"):
        assert ear_sat.load_autoencoder(path).sample_rate == RATE


def test_kinds_of_this_host():
    assert set(OOBLECK) <= set(kinds())
