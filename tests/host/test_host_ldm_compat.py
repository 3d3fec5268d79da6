"""Each mend for latent diffusion in the host: what the host does by itself, and what it does mended."""

from __future__ import annotations

import logging
import os
import random
import types

import pytest
import torch
from host_test_configs import Recorder, audio, fit
from host_test_ldm import autoencoder, infos, ldm_config, make_ldm, raw_batches
from stable_audio_tools.inference import generation
from stable_audio_tools.models import diffusion as host_models
from stable_audio_tools.models import inpainting, utils
from stable_audio_tools.training import arc, create_demo_callback_from_config, diffusion
from stable_audio_tools.training import utils as host_utils

from ear_sat.host import compat
from ear_sat.host.compat.padding_mask import with_leading_axis


def test_applying_again_changes_nothing():
    def everything():
        modules = (arc, diffusion, inpainting, utils, generation)
        found = {(m.__name__, name): id(value) for m in modules for name, value in vars(m).items()}
        for kind in (
            arc.ARCTrainingWrapper,
            diffusion.DiffusionCondTrainingWrapper,
            diffusion.DiffusionCondInpaintDemoCallback,
        ):
            found |= {(kind.__name__, name): id(value) for name, value in vars(kind).items()}
        return found

    before = everything()
    compat.apply()
    assert everything() == before


@pytest.mark.parametrize("kind", ["diffusion_cond", "diffusion_cond_inpaint"])
def test_masks_with_one_axis(kind, monkeypatch):
    wrapped = diffusion.DiffusionCondTrainingWrapper.training_step
    fit(make_ldm(ldm_config(kind)), raw_batches(1), val=raw_batches(1))
    if kind == "diffusion_cond_inpaint" and hasattr(host_utils, "resize_padding_mask"):
        return  # 0.0.20 by itself takes a number for a mask of everything here, and says nothing
    monkeypatch.setattr(diffusion.DiffusionCondTrainingWrapper, "training_step", wrapped.__wrapped__)
    with pytest.raises((NotImplementedError, RuntimeError, IndexError), match=r"got 2D|size of tensor|Dimension"):
        fit(make_ldm(ldm_config(kind)), raw_batches(1))


def test_masks_keep_their_other_forms():
    plain, lifted = {"padding_mask": torch.ones(5), "x": 1}, {"padding_mask": torch.ones(1, 5)}
    listed, none = {"padding_mask": [torch.ones(5)]}, {"x": 2}
    seen = with_leading_axis([plain, lifted, listed, none])
    assert seen[0]["padding_mask"].shape == (1, 5) and seen[0]["x"] == 1
    assert seen[1] is lifted and seen[2] is listed and seen[3] is none
    assert plain["padding_mask"].ndim == 1  # lm and the pre-encoding script read these


@pytest.mark.parametrize("mask_padding", [False, True])
def test_padded_clips_train(mask_padding):
    short = tuple({**info, "padding_mask": torch.cat([torch.ones(1000), torch.zeros(3096)])} for info in infos(2))
    log = Recorder()
    config = ldm_config(mask_padding=mask_padding)  # 0.0.19's name
    config["model"]["diffusion"]["mask_padding_attention"] = mask_padding  # 0.0.20's
    fit(make_ldm(config), [(audio(2), short)], logger=log, log_every_n_steps=1)
    assert log.series("train/loss")[0] > 0


def test_arc_takes_masks_with_one_axis(monkeypatch):
    """As far as its step depends on the mask: it pairs with a discriminator that a test need not build."""
    seen = []
    step = arc.ARCTrainingWrapper.training_step
    closure = dict(zip(step.__code__.co_freevars, step.__closure__, strict=True))
    monkeypatch.setattr(closure["original"], "cell_contents", lambda self, batch, index: seen.append(batch))
    step(None, (audio(2), infos(2)), 0)
    assert [info["padding_mask"].shape for info in seen[0][1]] == [(1, 4096)] * 2


def inpainting_demo_masks(batch, mask_type, monkeypatch):
    """The masks (batch, 1, frames) that the host's inpainting demo makes of one batch of audio."""
    config = ldm_config("diffusion_cond_inpaint")
    kinds = [float(mask_type == number) for number in range(3)]
    config["training"]["inpainting"] = {"mask_kwargs": {"mask_type_probabilities": kinds}}
    config["training"]["demo"] |= {"num_demos": len(batch[0]), "demo_cfg_scales": [1]}
    wrapper, made = make_ldm(config), []

    def keep(*args, **kwargs):
        masked, mask = inpainting.random_inpaint_mask(*args, **kwargs)
        made.append(mask)
        return masked, mask

    monkeypatch.setattr(diffusion, "random_inpaint_mask", keep)
    monkeypatch.setattr(diffusion.torchaudio, "save", lambda *_: None)
    monkeypatch.setattr(os, "remove", lambda *_: None)
    callback = create_demo_callback_from_config(config, demo_dl=[batch])
    random.seed(0)
    callback.on_train_batch_end(types.SimpleNamespace(global_step=1, logger=None), wrapper, None, None, 0)
    return made[0]


def test_the_inpainting_demo_masks_within_the_latents(monkeypatch):
    """A causal mask keeps a beginning of uniform length; over samples instead of latents it nearly always keeps all."""
    mask = inpainting_demo_masks((audio(64), infos(64)), 2, monkeypatch)
    assert mask.shape == (64, 1, 128)
    assert mask.mean().item() == pytest.approx(0.5, abs=0.15)


def test_the_inpainting_demo_leaves_padding_alone(monkeypatch):
    padding = torch.cat([torch.ones(2048), torch.zeros(2048)])
    short = tuple({**info, "padding_mask": padding} for info in infos(4))
    mask = inpainting_demo_masks((audio(4), short), 0, monkeypatch)
    assert bool((mask[..., 64:] == 1).all()) and bool((mask[..., :64] == 0).any())


@pytest.mark.parametrize("kind", ["diffusion_cond", "diffusion_cond_inpaint"])
def test_validation_losses_reach_every_logger(kind):
    log = Recorder()
    fit(make_ldm(ldm_config(kind)), raw_batches(1), val=raw_batches(2), logger=log)
    parts = [log.series(f"val/loss_{t:.1f}")[0] for t in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert log.series("val/avg_loss") == pytest.approx([sum(parts) / 5])


def test_validation_starts_anew_every_time():
    log = Recorder()
    wrapper = make_ldm(ldm_config())
    fit(wrapper, raw_batches(2), val=raw_batches(1), logger=log, val_check_interval=1)
    assert len(log.series("val/avg_loss")) == 2
    assert not any(wrapper.validation_step_outputs.values())


def test_the_unconditional_model_generates(monkeypatch):
    model = make_ldm(ldm_config("diffusion_uncond")).diffusion.eval()
    assert generation.generate_diffusion_uncond(model, 2, 1, 4096, seed=1, device="cpu").shape == (1, 2, 4096)
    if hasattr(generation, "sample_k"):  # 0.0.19
        monkeypatch.setattr(generation, "sample_k", generation.sample_k.__wrapped__)
    else:
        monkeypatch.setattr(host_models.DiTUncondWrapper, "forward", host_models.DiTUncondWrapper.forward.__wrapped__)
    with pytest.raises((TypeError, ValueError), match=r"Unknown sampler|unexpected keyword argument"):
        generation.generate_diffusion_uncond(model, 2, 1, 4096, seed=1, device="cpu")


def test_skipped_keys_are_counted(caplog):
    weights, state = autoencoder(), dict(autoencoder(seed=2).state_dict())
    whole = len(state)
    state["encoder.layers.0.bias"] = torch.zeros(99)
    state["something.else"] = torch.zeros(1)
    with caplog.at_level(logging.WARNING):
        utils.copy_state_dict(weights, state)
    (record,) = caplog.records
    assert (
        f"{whole - 1} of the model's {whole} tensors were loaded; 2 of the file's {whole + 1} were skipped"
        in record.message
    )
    expected = autoencoder(seed=2).state_dict()
    own = weights.state_dict()
    assert torch.equal(own["encoder.layers.0.weight_v"], expected["encoder.layers.0.weight_v"])
    assert own["encoder.layers.0.bias"].shape == expected["encoder.layers.0.bias"].shape


def test_nothing_skipped_is_nothing_said(caplog):
    with caplog.at_level(logging.WARNING):
        utils.copy_state_dict(autoencoder(), dict(autoencoder(seed=2).state_dict()))
    assert not caplog.records
