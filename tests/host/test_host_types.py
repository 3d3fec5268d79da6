"""What the installed host can build, our wrapper trains: optimizers, discriminators and parts of models."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from host_test_configs import (
    RATE,
    Recorder,
    Snapshots,
    adamw,
    batches,
    changed,
    fit,
    make_wrapper,
    model_config,
)
from stable_audio_tools.models import autoencoders as autoencoders_module
from stable_audio_tools.training import autoencoders

from ear_sat import UserError
from ear_sat.host.host_types import branch_types
from ear_sat.training import registry
from ear_sat.training.discriminators import create_discriminator

L = "training.loss_configs."
WEIGHTS = {"adversarial": 0.1, "feature_matching": 5.0}
STFT = {"n_ffts": [256, 128], "hop_lengths": [64, 32], "win_lengths": [256, 128], "filters": 2}
#: A small config of every type that any host's wrapper builds; a test finds out when a type is missing here.
HOST_DISCRIMINATORS = {
    "oobleck": {"in_channels": 2},
    "encodec": STFT,
    "dac": {"rates": [], "periods": [2], "fft_sizes": [256]},
    "big_vgan": {},
    "hil": {**STFT, "loss_type": "rpgan"},
    "transformer": {
        "patched_kwargs": {"patch_sizes": [29], "depths": [1], "strides": [2], "sliding_window_widths": [4]}
    },
}


def test_every_discriminator_of_the_host_is_known_here():
    types = list(registry.DISCRIMINATORS)
    assert {"oobleck", "encodec", "dac", "big_vgan"} <= set(types) <= HOST_DISCRIMINATORS.keys()
    source = inspect.getsource(autoencoders.AutoencoderTrainingWrapper._ear_sat_original.__init__)
    assert source.count("loss_config['discriminator']['type'] ==") == len(types)


def slow_unless_small(kinds):
    """The others are large whatever their config says."""
    small = ("encodec", "dac")
    return [pytest.param(kind, marks=() if kind in small else pytest.mark.slow) for kind in sorted(kinds)]


@pytest.mark.parametrize("kind", slow_unless_small(HOST_DISCRIMINATORS))
def test_the_hosts_discriminators_train_under_our_wrapper(kind):
    if kind not in list(registry.DISCRIMINATORS):
        with pytest.raises(UserError, match=f"unknown discriminator type '{kind}'"):
            create_discriminator({"type": kind, "weights": WEIGHTS}, RATE, 2)
        return
    if kind == "big_vgan":
        return  # has a test of its own: it needs a high sample rate and long clips
    entry = {"type": kind, "config": HOST_DISCRIMINATORS[kind], "weights": WEIGHTS}
    config = changed(model_config(), L + "discriminator", entry)
    log, seen = Recorder(), Snapshots()
    fit(make_wrapper(config), batches(1, batch=1), seen, logger=log)
    assert config["training"]["loss_configs"]["discriminator"]["config"] == HOST_DISCRIMINATORS[kind]
    (row,) = (row for _, row in log.rows)
    assert row["train/loss/discriminator"] > 0 and row["train/raw/discriminator/feature_matching"] > 0
    for key, weight in WEIGHTS.items():
        raw = row[f"train/raw/discriminator/{key}"]
        assert row[f"train/weighted/discriminator/{key}"] == pytest.approx(weight * raw)
    for player in ("autoencoder.", "discriminator."):
        assert seen.differs(0, 1, player)


@pytest.mark.slow
def test_big_vgan_with_its_cqt_part_or_one_sentence():
    entry = {"type": "big_vgan", "config": {}, "weights": WEIGHTS}
    if not hasattr(autoencoders.BigVGANDiscriminator, "loss") or "hil" not in list(registry.DISCRIMINATORS):
        with pytest.raises(UserError, match="cannot build its own type 'big_vgan'"):
            create_discriminator(entry, 44100, 2)
        return
    discriminator = create_discriminator(entry, 44100, 2)
    assert any("CQT" in type(module).__name__ for module in discriminator.modules())
    fakes = torch.randn(1, 2, 16384, requires_grad=True)
    losses = discriminator.loss(reals=torch.randn(1, 2, 16384), fakes=fakes)
    gradient = torch.autograd.grad(losses[1] + losses[2], fakes)[0]
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_encodec_takes_the_loss_types_of_the_host():
    takes = "loss_type" in inspect.signature(autoencoders.EncodecDiscriminator.__init__).parameters
    entry = {"type": "encodec", "config": {**STFT, "loss_type": "rpgan"}, "weights": WEIGHTS}
    if takes:
        assert create_discriminator(entry, RATE, 2).loss_type == "rpgan"
    else:
        with pytest.raises(UserError, match=r"config does not fit the host's type 'encodec'.*loss_type"):
            create_discriminator(entry, RATE, 2)


@pytest.mark.parametrize("kind", ["CAdamW", "CLion", "MuonAdamW"])
def test_the_hosts_optimizers_train(kind):
    rates = {"muon_lr": 0.02, "adam_lr": 1e-3} if kind == "MuonAdamW" else {"lr": 1e-3}
    optimizer = {"optimizer": {"type": kind, "config": rates}}
    config = changed(
        model_config(), "training.optimizer_configs", dict.fromkeys(["autoencoder", "discriminator"], optimizer)
    )
    if kind not in registry.OPTIMIZERS:
        with pytest.raises(UserError, match=f"optimizer '{kind}'.* Valid: .*AdamW"):
            make_wrapper(config)
        return
    seen = Snapshots()
    fit(make_wrapper(config), batches(2), seen)
    assert seen.differs(0, 2, "autoencoder.") and seen.differs(0, 2, "discriminator.")


def test_the_factory_of_the_host_knows_every_optimizer_we_offer():
    from stable_audio_tools.training import utils

    assert set(registry.OPTIMIZERS) == set(branch_types(utils.create_optimizer_from_config, "optimizer_type"))


@pytest.mark.parametrize("kind", ["AdamW8bit", "FusedAdam"])
def test_an_optimizer_of_a_package_that_is_missing_is_one_sentence(kind):
    if kind not in registry.OPTIMIZERS:
        pytest.skip("the installed host has no AdamW8bit")
    optimizer = {"optimizer": {"type": kind, "config": {"lr": 1e-3}}}
    config = changed(model_config(), "training.optimizer_configs.autoencoder", optimizer)
    with pytest.raises(UserError, match=f"the type {kind} needs a package that is not installed"):
        make_wrapper(config)


def test_phases_keep_the_ratios_of_parameter_groups():
    """MuonAdamW has two groups: 2-D weights, and the rest at its own rate."""
    if "MuonAdamW" not in registry.OPTIMIZERS:
        pytest.skip("the installed host has no optimizer with two groups")
    muon = {"optimizer": {"type": "MuonAdamW", "config": {"muon_lr": 0.02, "adam_lr": 0.001}}}
    config = changed(model_config(), "training.optimizer_configs", {"autoencoder": muon, "discriminator": adamw(0.004)})
    config["training"]["phases"] = [
        {"name": "a", "steps": 1, "losses": "all", "generator": True, "adversarial": True, "lr": 0.02},
        {"name": "b", "steps": 1, "losses": "all", "generator": True, "adversarial": True, "lr": 0.01},
    ]
    rates = []
    wrapper = make_wrapper(config)
    step = wrapper.optimizer_configs.set_rates

    def keep(optimizers, *args):
        step(optimizers, *args)
        rates.append([group["lr"] for optimizer in optimizers for group in optimizer.param_groups])

    wrapper.optimizer_configs.set_rates = keep
    fit(wrapper, batches(2))
    assert rates == [pytest.approx([0.02, 0.001, 0.004]), pytest.approx([0.01, 0.0005, 0.002])]


OOBLECK = {
    "encoder": {
        "type": "oobleck",
        "config": {"in_channels": 2, "channels": 4, "c_mults": [1, 2], "strides": [4, 8], "latent_dim": 64},
    },
    "decoder": {
        "type": "oobleck",
        "config": {"out_channels": 2, "channels": 4, "c_mults": [1, 2], "strides": [4, 8], "latent_dim": 32},
    },
    "bottleneck": {"type": "vae"},
    "latent_dim": 32,
    "downsampling_ratio": 32,
    "io_channels": 2,
}


def same_model():
    """0.0.20's SAME: transformers around a resampling step, on patches of 16 samples."""
    sizes = {"channels": 64, "c_mults": [1], "strides": [2], "transformer_depths": [1]}
    return {
        "encoder": {"type": "same", "config": {"in_channels": 32, "latent_dim": 32, **sizes}},
        "decoder": {"type": "same", "config": {"out_channels": 32, "latent_dim": 32, **sizes}},
        "bottleneck": {"type": "softnorm", "config": {"dim": 32}},
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": 16}, "enable_grad": True},
        "latent_dim": 32,
        "downsampling_ratio": 32,
        "io_channels": 2,
    }


def trained(model, bottleneck):
    config = changed(model_config(), "model", model)
    config["training"]["loss_configs"]["bottleneck"] = bottleneck
    log, seen = Recorder(), Snapshots()
    wrapper = make_wrapper(config)
    fit(wrapper, batches(3), seen, logger=log)
    assert seen.differs(0, 3, "autoencoder.encoder.") and seen.differs(0, 3, "autoencoder.decoder.")
    return log


def test_a_stock_oobleck_autoencoder_trains_with_our_losses():
    log = trained(OOBLECK, {"type": "kl", "weights": {"kl": 1e-3}})
    assert len(log.series("train/weighted/correlation/correlation")) == 3
    assert log.series("train/raw/bottleneck/kl")[0] > 0


def test_a_part_that_the_host_names_and_lacks_is_one_sentence():
    from stable_audio_tools.models.autoencoders import create_encoder_from_config

    known = "patched" in branch_types(create_encoder_from_config, "encoder_type")
    with pytest.raises(
        UserError, match="cannot build its own encoder type 'patched'" if known else "unknown encoder type"
    ):
        create_encoder_from_config({"type": "patched", "config": {}})


@pytest.mark.parametrize("bottleneck", ["vae", "wasserstein"])
def test_a_taae_autoencoder_trains_with_our_losses(bottleneck):
    sizes = {"channels": 64, "c_mults": [1, 1], "strides": [4, 8], "transformer_depths": [1, 1], "sliding_window": None}
    model = {
        **OOBLECK,
        "encoder": {"type": "taae", "config": {"in_channels": 2, "latent_dim": 64, **sizes}},
        "decoder": {"type": "taae", "config": {"out_channels": 2, "latent_dim": 32, **sizes}},
        "bottleneck": {"type": bottleneck},
    }
    if bottleneck == "wasserstein":
        model["encoder"]["config"]["latent_dim"] = 32
    if "same" not in branch_types(autoencoders_module.create_encoder_from_config, "encoder_type"):
        with pytest.raises(TypeError, match="sliding_window"):  # 0.0.19's do not fit its own attention
            make_wrapper(changed(model_config(), "model", model))
        return
    key = {"vae": "kl", "wasserstein": "mmd"}[bottleneck]
    log = trained(model, {"type": "bottleneck", "weights": {key: 1e-3}})
    assert len(log.series(f"train/raw/bottleneck/{key}")) == 3


def test_a_pretransform_without_gradients_is_one_sentence():
    from stable_audio_tools.models.factory import create_pretransform_from_config

    wavelet = {"type": "wavelet", "config": {"channels": 2, "levels": 1, "wavelet": "bior4.4"}}
    assert create_pretransform_from_config(wavelet, RATE).encoded_channels == 4
    model = copy.deepcopy({**OOBLECK, "pretransform": wavelet})
    model["encoder"]["config"] |= {"in_channels": 4, "strides": [4, 4]}
    model["decoder"]["config"] |= {"out_channels": 4, "strides": [4, 4]}
    with pytest.raises(UserError, match=r'"enable_grad": true in model\.pretransform'):
        fit(make_wrapper(changed(model_config(), "model", model)), batches(1))
    model["pretransform"]["enable_grad"] = True
    fit(make_wrapper(changed(model_config(), "model", model)), batches(1))


def test_a_same_autoencoder_trains_with_our_losses():
    from stable_audio_tools.models.autoencoders import create_encoder_from_config

    if "same" not in branch_types(create_encoder_from_config, "encoder_type"):
        config = changed(model_config(), "model.encoder", {"type": "same", "config": {}})
        with pytest.raises(UserError, match="unknown encoder type 'same'"):
            make_wrapper(config)
        return
    log = trained(same_model(), {"type": "bottleneck", "weights": {"softnorm_loss": 1e-3}})
    assert len(log.series("train/weighted/correlation/correlation")) == 3
    assert log.series("train/raw/bottleneck/softnorm_loss")[0] > 0
