"""What the diffusion network is given: deterministic, the same from audio and from latents, by frozen weights."""

from __future__ import annotations

import pytest
import torch
from host_test_configs import audio, fit
from host_test_ldm import HOP, KINDS, Inputs, autoencoder, infos, ldm_config, make_ldm, raw_batches, write_latents
from stable_audio_tools.data.dataset import create_dataloader_from_config

import ear_sat


def given(wrapper, data):
    """The network's inputs over ``data``."""
    seen = Inputs()
    fit(wrapper, data, seen)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_clip_gives_the_same_input(kind):
    """In train mode our bottleneck would draw noise, and the host's uncond wrapper does not switch to eval."""
    seen = given(make_ldm(ldm_config(kind)), raw_batches(1) * 2)
    assert torch.equal(seen.inputs[0], seen.inputs[1])
    assert seen.modes == [False, False]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_audio_and_its_latents_give_the_same_input(kind, scale, tmp_path):
    weights, clip = autoencoder(), audio(1)
    data = write_latents(tmp_path / "latents", clip, weights)
    loader = create_dataloader_from_config(data, 1, 4096, 8000, num_workers=0)
    raw = given(make_ldm(ldm_config(kind, scale=scale), weights), [(clip, infos(1))])
    encoded = given(make_ldm(ldm_config(kind, scale=scale, pre_encoded=True), weights), loader)
    assert raw.inputs[0].shape == (1, 32, 4096 // HOP)
    assert torch.allclose(raw.inputs[0], encoded.inputs[0], atol=1e-5)
    assert encoded.modes == []


@pytest.mark.parametrize("pre_encoded", [False, True])
def test_scale_divides_the_latents(pre_encoded, tmp_path):
    """With one noise and time the input is α·latents/scale + σ·noise, so differences of inputs follow the scale."""
    weights, clip = autoencoder(), audio(1)
    batch = (clip, infos(1))
    if pre_encoded:
        data = write_latents(tmp_path / "latents", clip, weights)
        batch = next(iter(create_dataloader_from_config(data, 1, 4096, 8000, num_workers=0)))
    by_scale = {
        scale: given(make_ldm(ldm_config(scale=scale, pre_encoded=pre_encoded), weights), [batch]).inputs[0]
        for scale in (1.0, 2.0, 4.0)
    }
    halves, quarters = by_scale[1.0] - by_scale[2.0], by_scale[2.0] - by_scale[4.0]
    assert halves.abs().max() > 1e-3
    assert torch.allclose(halves, 2 * quarters, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_pretransform_is_the_autoencoder(scale, tmp_path):
    weights, clips = autoencoder(), audio(2)
    torch.save({"state_dict": weights.state_dict()}, tmp_path / "vae.ckpt")
    with pytest.warns(UserWarning, match="assumed"):  # plain tensors do not tell the sample rate
        alone = ear_sat.load_autoencoder(tmp_path / "vae.ckpt")
    pretransform = make_ldm(ldm_config(scale=scale), weights).diffusion.pretransform
    with torch.no_grad():
        ours = alone.decode(alone.encode(clips))
        assert torch.allclose(pretransform.encode(clips) * scale, alone.encode(clips), atol=1e-5)
        assert torch.allclose(pretransform.decode(pretransform.encode(clips)), ours, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_training_leaves_the_pretransform_bit_for_bit(kind):
    wrapper = make_ldm(ldm_config(kind))
    pretransform = wrapper.diffusion.pretransform
    before = {key: value.clone() for key, value in pretransform.state_dict().items()}
    network = {key: value.clone() for key, value in wrapper.diffusion.model.state_dict().items()}
    fit(wrapper, raw_batches(3))
    after = pretransform.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert any(not torch.equal(network[key], value) for key, value in wrapper.diffusion.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in pretransform.parameters())
    assert all(parameter.grad is None for parameter in pretransform.parameters())
