"""Latent terms in rounds of training: their gradients, their log, and a run that goes on where it stopped."""

from __future__ import annotations

import math

import pytest
import pytorch_lightning as pl
import torch
from host_test_configs import (
    SIZE,
    Gradients,
    Recorder,
    batches,
    changed,
    fit,
    make_wrapper,
    model_config,
    same,
    sgd,
)
from torch.nn import functional as F

from ear_sat import UserError
from ear_sat.resampling import resampler
from ear_sat.training.kl_target import RATE
from ear_sat.training.trial import try_round

T = "training."
GAIN_DB, FACTOR = 3.0, 2


def small_config(**training):
    """One term in time, no discriminator."""
    config = model_config(sample="never")
    bottleneck = config["training"]["loss_configs"]["bottleneck"]
    config["training"]["loss_configs"] = {"time": {"type": "l2", "weights": {"l2": 1.0}}, "bottleneck": bottleneck}
    del config["model"]["decoder"]["config"]["transformer"]
    config["training"] |= training
    return config


def test_a_changed_batch_has_the_gradients_of_plain_autograd():
    """Of a change that leaves nothing to chance."""
    certain = {"probability": 1.0, "gain_db": [GAIN_DB, GAIN_DB], "time": [FACTOR]}
    config = small_config(equivariance=certain, optimizer_configs={"autoencoder": sgd(), "discriminator": sgd()})
    wrapper, data, gradients, log = make_wrapper(config), batches(1), Gradients(), Recorder()
    model, reals = make_wrapper(config).autoencoder, data[0][0]
    latents, info = model.encode(reals, return_info=True)
    gain = 10 ** (GAIN_DB / 20)
    decoded = model.decode(F.avg_pool1d(gain * latents, FACTOR))
    target = resampler(FACTOR, 1)(gain * reals)
    assert decoded.shape == target.shape == (2, 2, SIZE // FACTOR)
    loss = (decoded - target).square().mean() + 1e-3 * info["kl"]
    loss.backward()
    fit(wrapper, data, gradients, logger=log)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients.generator[0][name], parameter.grad, rtol=1e-3, atol=1e-7)
    assert log.series("train/loss/total") == pytest.approx([loss.item()], rel=1e-5)
    # What is logged of the latents is what the encoder gave.
    assert log.series("train/latent/std") == pytest.approx([latents.std().item()], rel=1e-5)


def test_options_that_are_off_change_no_number():
    config = model_config()
    off = changed(changed(config, T + "latent_noise", 0.0), T + "equivariance", {"probability": 0.0, "time": [2]})
    rows = []
    for one in (config, changed(off, T + "equivariance", None)):
        log = Recorder()
        wrapper = make_wrapper(one)
        fit(wrapper, batches(2), logger=log)
        rows.append((log.rows, dict(wrapper.state_dict())))
    assert same(*rows)
    assert not any("kl_weight" in row for _, row in log.rows)


def everything():
    change = {"probability": 0.5, "gain_db": [-6, 6], "time": [1, 2]}
    config = changed(small_config(latent_noise=0.1, equivariance=change), "model.bottleneck.config.sample", "training")
    return changed(config, T + "loss_configs.bottleneck.target_kl", 0.05)


def test_the_kls_weight_follows_it_and_is_logged():
    log = Recorder()
    fit(make_wrapper(everything()), batches(4), logger=log)
    kl, weights = log.series("train/raw/bottleneck/kl"), log.series("train/kl_weight")
    weight = 1e-3
    for value, logged, now in zip(kl, log.series("train/weighted/bottleneck/kl"), weights, strict=True):
        assert logged == pytest.approx(weight * value, rel=1e-5)
        weight *= math.exp(RATE * max(-1, min(1, math.log(value / (2 * 32) / 0.05))))
        assert now == pytest.approx(weight, rel=1e-5)


def test_a_phase_without_the_kl_leaves_its_weight():
    config = everything()
    config["training"]["phases"] = [{"name": "a", "losses": ["time"], "steps": 1}, {"name": "b"}]
    log = Recorder()
    fit(make_wrapper(config), batches(2), logger=log)
    first, second = log.series("train/kl_weight")
    assert first == 1e-3 != second


def test_a_resumed_run_ends_where_an_undisturbed_one_does(tmp_path):
    data, whole = batches(4), make_wrapper(everything())
    fit(whole, data)
    first = make_wrapper(everything())
    fit(first, data[:2]).save_checkpoint(tmp_path / "a.ckpt")
    torch.manual_seed(9)  # whatever happened in between
    second = make_wrapper(everything(), seed=5)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False)
    loader = torch.utils.data.DataLoader(data[2:], batch_size=None)
    trainer.fit(second, loader, ckpt_path=str(tmp_path / "a.ckpt"))
    assert second.rounds == whole.rounds == 4
    assert second.kl_target.weight == whole.kl_target.weight == second.bottleneck_weights["kl"]
    assert same(dict(second.state_dict()), dict(whole.state_dict()))


@pytest.mark.parametrize("dtype", ["32", "bf16-mixed"])
def test_silence_trains(dtype):
    log = Recorder()
    silence = [(torch.zeros(2, 2, SIZE), ({},) * 2)]
    wrapper = make_wrapper(everything())
    fit(wrapper, silence * 2, logger=log, precision=dtype)
    assert wrapper.faults.total == 0 and all(math.isfinite(v) for _, row in log.rows for v in row.values())


def test_a_clip_without_a_frame_left_is_refused_before_the_run():
    config = everything()
    config["training"]["equivariance"]["time"] = [2, 129]
    with pytest.raises(UserError, match="averages 129 latent frames, and a clip of sample_size 4096 has 128"):
        try_round(lambda: make_wrapper(config), 2, SIZE)
    config["training"]["equivariance"]["time"] = [2, 128]
    try_round(lambda: make_wrapper(config), 2, SIZE)


def test_a_bottleneck_without_what_is_asked_of_it_is_refused_before_the_run():
    config = changed(everything(), "model.bottleneck", {"type": "tanh"})
    config["model"]["encoder"]["config"]["latent_dim"] = 32
    with pytest.raises(UserError, match=r"key in loss_configs.bottleneck.weights 'kl'"):
        try_round(lambda: make_wrapper(config), 2, SIZE)
    codebook = {"type": "fsq", "config": {"levels": [3, 3], "dim": 32}}
    with pytest.raises(UserError, match="this bottleneck's are entries of a codebook"):
        make_wrapper(changed(config, "model.bottleneck", codebook))
