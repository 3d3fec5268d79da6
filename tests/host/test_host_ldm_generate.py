"""Generation through the host's own functions on the CPU."""

from __future__ import annotations

import pytest
import torch
from host_test_configs import RATE, audio
from host_test_ldm import HOP, autoencoder, ldm_config, make_ldm
from stable_audio_tools.inference.generation import (
    generate_diffusion_cond,
    generate_diffusion_cond_inpaint,
    generate_diffusion_uncond,
)


def trained(kind="diffusion_cond", **settings):
    """A model as a run leaves it: in eval mode. Its output layers start at 0, so they get random weights."""
    model = make_ldm(ldm_config(kind, **settings)).diffusion.eval()
    for parameter in model.model.parameters():
        if not parameter.abs().any():
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def is_sound(clips, batch, samples):
    return clips.shape == (batch, 2, samples) and bool(clips.isfinite().all()) and bool(clips.abs().max() > 0)


@pytest.mark.parametrize("objective", ["v", "rectified_flow"])
@pytest.mark.parametrize("samples", [HOP, 4096, 100 * HOP])
def test_the_asked_length_is_given(objective, samples):
    conditions = [{"seconds_start": 0, "seconds_total": 2}] * 2
    settings = {"steps": 3, "cfg_scale": 3.0, "conditioning": conditions, "batch_size": 2, "device": "cpu"}
    clips = generate_diffusion_cond(trained(objective=objective), sample_size=samples, seed=1, **settings)
    assert is_sound(clips, 2, samples)


@pytest.mark.parametrize("sampler", ["dpmpp-3m-sde", "v-ddim"])
def test_samplers_of_the_host(sampler):
    conditions = [{"seconds_start": 0, "seconds_total": 2}]
    settings = {"steps": 3, "conditioning": conditions, "sampler_type": sampler, "device": "cpu"}
    assert is_sound(generate_diffusion_cond(trained(), sample_size=4096, seed=1, **settings), 1, 4096)


def test_the_seed_decides():
    model, conditions = trained(), [{"seconds_start": 0, "seconds_total": 2}]
    one, same, other = (
        generate_diffusion_cond(model, 3, 2.0, conditions, sample_size=4096, seed=seed, device="cpu")
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_scale_is_taken_back_before_decoding():
    """The decoder of a model with scale s gets s times the latents that the network made."""
    model, weights = trained(scale=2.5), autoencoder()
    settings = {"steps": 3, "conditioning": [{"seconds_start": 0, "seconds_total": 2}], "seed": 1, "device": "cpu"}
    latents = generate_diffusion_cond(model, sample_size=4096, return_latents=True, **settings)
    clips = generate_diffusion_cond(model, sample_size=4096, **settings)
    with torch.no_grad():
        assert torch.allclose(clips, weights.decode(2.5 * latents), atol=1e-5)


def test_unconditional():
    clips = generate_diffusion_uncond(trained("diffusion_uncond"), 3, 2, sample_size=4096, seed=1, device="cpu")
    assert is_sound(clips, 2, 4096)


@pytest.mark.parametrize("with_audio", [False, True])
def test_inpainting(with_audio):
    more = {}
    if with_audio:
        mask = torch.ones(1, 4096)
        mask[:, 2048:] = 0  # the second half is made anew
        more = {"inpaint_audio": (RATE, audio(1)[0]), "inpaint_mask": mask}
    settings = {"steps": 3, "conditioning": [{"seconds_start": 0, "seconds_total": 2}], "device": "cpu", **more}
    clips = generate_diffusion_cond_inpaint(trained("diffusion_cond_inpaint"), sample_size=4096, seed=1, **settings)
    assert is_sound(clips, 1, 4096)


def test_variation_of_given_audio():
    settings = {"steps": 3, "conditioning": [{"seconds_start": 0, "seconds_total": 2}], "seed": 1, "device": "cpu"}
    clips = generate_diffusion_cond(trained(), sample_size=4096, init_audio=(RATE, audio(1)[0]), **settings)
    assert is_sound(clips, 1, 4096)
