"""Chunked encoding and decoding through the host's own ``AudioAutoencoder``."""

from __future__ import annotations

import pytest
import torch
from host_test_configs import model_config
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.autoencoders import AudioAutoencoder
from stable_audio_tools.models.pretransforms import AutoencoderPretransform

import ear_sat

HOSTS = {
    "encoder": {
        "type": "oobleck",
        "config": {"in_channels": 2, "channels": 4, "c_mults": [1, 2], "strides": [2, 4], "latent_dim": 8},
    },
    "decoder": {
        "type": "oobleck",
        "config": {"out_channels": 2, "channels": 4, "c_mults": [1, 2], "strides": [2, 4], "latent_dim": 4},
    },
    "bottleneck": {"type": "vae"},
    "latent_dim": 4,
    "downsampling_ratio": 8,
    "io_channels": 2,
}


@pytest.fixture
def ours():
    torch.manual_seed(0)
    return create_model_from_config(model_config()).eval().requires_grad_(False)


@pytest.fixture
def hosts():
    torch.manual_seed(0)
    config = {"model_type": "autoencoder", "sample_rate": 44100, "model": HOSTS}
    return create_model_from_config(config).eval().requires_grad_(False)


def hop(model):
    return model.downsampling_ratio


@pytest.mark.parametrize("frames", [1, 2, 127])
def test_short_input_of_the_hosts_own_model(frames, hosts):
    # Its bottleneck draws; the same seed gives the same draw.
    audio = torch.randn(1, 2, frames * hop(hosts))
    torch.manual_seed(1)
    expected = hosts.encode_audio(audio)
    torch.manual_seed(1)
    assert torch.equal(hosts.encode_audio(audio, chunked=True), expected)
    assert torch.equal(hosts.decode_audio(expected, chunked=True), hosts.decode_audio(expected))


def test_long_input_of_the_hosts_own_model_is_untouched(hosts):
    audio, latents = torch.randn(1, 2, 300 * hop(hosts)), torch.randn(1, 4, 300)
    for method, x in (("encode_audio", audio), ("decode_audio", latents)):
        replaced = getattr(AudioAutoencoder, method)
        torch.manual_seed(1)
        expected = replaced._ear_sat_original(hosts, x, chunked=True)
        torch.manual_seed(1)
        assert torch.equal(getattr(hosts, method)(x, chunked=True), expected)
        # The host's arguments may be given by position: chunked, overlap, chunk_size.
        torch.manual_seed(1)
        assert torch.equal(getattr(hosts, method)(x, True, 32, 128), expected)


@pytest.mark.parametrize("frames", [1, 5, 128, 300])
@pytest.mark.parametrize("options", [{}, {"overlap": 0, "chunk_size": 7}, {"iterate_batch": True}])
def test_our_parts_are_exact(frames, options, ours):
    audio = torch.randn(2, 2, frames * hop(ours))
    latents = ours.encode_audio(audio)
    assert latents.shape[-1] == frames
    assert (ours.encode_audio(audio, chunked=True, **options) - latents).abs().max() < 1e-6
    decoded = ours.decode_audio(latents)
    assert (ours.decode_audio(latents, chunked=True, **options) - decoded).abs().max() < 1e-6


def test_info_comes_along(ours):
    audio = torch.randn(1, 2, 200 * hop(ours))
    expected = ours.encode_audio(audio, return_info=True)[1]
    info = ours.encode_audio(audio, chunked=True, return_info=True)[1]
    assert info.keys() == expected.keys()
    for key in info:
        torch.testing.assert_close(info[key], expected[key], atol=1e-5, rtol=1e-5)
    raw = ours.encode_audio(audio, chunked=True, skip_bottleneck=True)
    assert (raw - ours.encoder(audio)).abs().max() < 1e-6


def test_soft_clip_is_kept(ours):
    ours.soft_clip = True
    latents = 30 * torch.randn(1, ours.latent_dim, 100)
    assert (ours.decode_audio(latents, chunked=True, chunk_size=9) - ours.decode_audio(latents)).abs().max() < 1e-6


def test_the_pretransform_of_a_diffusion_model(ours):
    plain, chunked = AutoencoderPretransform(ours, scale=2.0), AutoencoderPretransform(ours, scale=2.0, chunked=True)
    audio = torch.randn(1, 2, 5 * hop(ours))
    latents = plain.encode(audio)
    assert (chunked.encode(audio) - latents).abs().max() < 1e-6
    assert (chunked.decode(latents) - plain.decode(latents)).abs().max() < 1e-6


def test_applied_once():
    before = AudioAutoencoder.encode_audio, AudioAutoencoder.decode_audio
    ear_sat.register()
    assert (AudioAutoencoder.encode_audio, AudioAutoencoder.decode_audio) == before
    assert before[0].__name__ == "encode_audio" and "chunk_size" in before[0].__doc__
