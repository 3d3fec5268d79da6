"""Our loss terms under the host's own autoencoder wrapper."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from host_test_configs import (
    ABSENT,
    DISCRIMINATOR,
    RATE,
    WINDOWS,
    Recorder,
    Snapshots,
    audio,
    batches,
    changed,
    fit,
    make_wrapper,
    model_config,
)
from stable_audio_tools.training.autoencoders import AutoencoderTrainingWrapper

from ear_sat import UserError
from ear_sat.host.host_terms import host_entries, split_losses
from ear_sat.host.register import ORIGINAL
from ear_sat.losses import LossBundle
from ear_sat.training import registry
from ear_sat.training.wrapper import EarTrainingWrapper

STOCK = Path(__file__).parents[1] / "data" / "host_stock_vae.json"
CORRELATION = {"type": "ear_correlation", "config": {"windows": WINDOWS}, "weights": {"correlation": 2.0}}
MAGNITUDE = {"type": "ear_magnitude", "config": {"windows": WINDOWS}, "weights": {"log": 1.0, "convergence": 0.5}}
SPECTRAL = {
    "type": "mrstft",
    "config": {"fft_sizes": [128], "hop_sizes": [32], "win_lengths": [128]},
    "weights": {"mrstft": 1.0},
}
STFT = {"n_ffts": [256], "hop_lengths": [64], "win_lengths": [256], "filters": 2}


def host_config(**losses):
    """Our tiny model without ``training.type``, so for the host's wrapper, with its own losses and ``losses``."""
    config = model_config()
    training = config["training"]
    for key in ("type", "log_every", "gradient_log_every"):
        del training[key]
    training["loss_configs"] = {
        "spectral": copy.deepcopy(SPECTRAL),
        "time": {"type": "l1", "config": {}, "weights": {"l1": 0.1}},
        "bottleneck": {"type": "kl", "weights": {"kl": 0.01}},
        **losses,
    }
    return config


def log_of(wrapper, count=1):
    wrapper._staggered_logger = type(wrapper._staggered_logger)(1) if hasattr(wrapper, "_staggered_logger") else None
    log, seen = Recorder(), Snapshots()
    trainer = fit(wrapper, batches(count), seen, logger=log, log_every_n_steps=1)
    return log, seen, trainer


def test_a_host_config_without_our_terms_is_untouched():
    wrapper = make_wrapper(host_config())
    assert type(wrapper).__mro__[1] is getattr(AutoencoderTrainingWrapper, ORIGINAL)
    assert not hasattr(wrapper, "ear_terms") and "losses_gen.losses.0.weight" in wrapper.state_dict()
    assert split_losses({"spectral": SPECTRAL}) is None and split_losses(None) is None


def test_a_legal_host_config_without_spectral_goes_to_the_host():
    config = host_config(spectral=ABSENT)
    del config["training"]["loss_configs"]["spectral"]
    if "contrastive" not in host_entries():  # 0.0.19 cannot do without
        with pytest.raises(KeyError, match="spectral"):
            make_wrapper(config)
        return
    assert isinstance(make_wrapper(config), getattr(AutoencoderTrainingWrapper, ORIGINAL))


def test_our_terms_add_to_the_hosts_loss():
    """The host's value of its own terms, and the bundle's of ours, on the audio that the wrapper decoded."""
    wrapper = make_wrapper(host_config(phase=CORRELATION, levels=MAGNITUDE))
    info = {"decoded": audio(2, seed=1).requires_grad_(), "reals": audio(2), "kl": torch.tensor(2.0)}
    info |= {
        f"{key}_{side}": info[key][:, i : i + 1]
        for i, side in enumerate(("left", "right"))
        for key in ("decoded", "reals")
    }
    total, losses = wrapper.losses_gen(info)
    alone = make_wrapper(host_config()).losses_gen(info)[0]
    bundle = LossBundle.from_config({"phase": CORRELATION, "levels": MAGNITUDE}, RATE)(info["decoded"], info["reals"])
    assert total.item() == pytest.approx((alone + bundle.total).item(), rel=1e-6)
    assert {"phase/correlation", "levels/log", "levels/convergence", "kl_loss"} <= losses.keys()
    gradient = torch.autograd.grad(losses["phase/correlation"], info["decoded"])[0]
    assert gradient.isfinite().all() and gradient.abs().max() > 0


@pytest.mark.parametrize("kind", [pytest.param("hil", marks=pytest.mark.slow), "encodec"])
def test_they_train_beside_a_discriminator_of_the_host(kind):
    if kind not in registry.DISCRIMINATORS:
        pytest.skip("the installed host has no hil")
    adversary = {"type": kind, "config": STFT, "weights": {"adversarial": 0.1, "feature_matching": 1.0}}
    wrapper = make_wrapper(host_config(phase=CORRELATION, discriminator=adversary))
    log, seen, _ = log_of(wrapper, 4)
    assert log.series("train/phase/correlation")[0] > 0 and log.series("train/kl_loss")[0] > 0
    for part in ("autoencoder.encoder.", "autoencoder.decoder.", "discriminator."):
        assert seen.differs(0, 4, part)


def test_our_discriminator_trains_in_the_hosts_wrapper():
    adversary = {
        "type": "ear_mrstft",
        "config": DISCRIMINATOR,
        "weights": {"adversarial": 0.1, "feature_matching": 1.0},
    }
    wrapper = make_wrapper(host_config(discriminator=adversary))
    log, seen, _ = log_of(wrapper, 4)
    assert type(wrapper.discriminator).__name__ == "MultiResolutionSTFTDiscriminator"
    assert log.series("train/loss_adv")[0] > 0 and log.series("train/discriminator_loss")[0] > 0
    assert seen.differs(0, 4, "discriminator.")


def test_time_is_filled_in_and_configs_stay_as_they_were():
    config = host_config(phase=CORRELATION)
    del config["training"]["loss_configs"]["time"]
    before = copy.deepcopy(config)
    log, _, _ = log_of(make_wrapper(config))
    assert config == before and log.series("train/phase/correlation")[0] > 0


def test_a_term_waits_for_its_start_step():
    log, _, _ = log_of(make_wrapper(host_config(phase={**CORRELATION, "start_step": 2})), 4)
    seen = [step for step, row in log.rows if "train/phase/correlation" in row]
    assert len(seen) == 2 and len(log.series("train/mrstft_loss")) == 4


def test_the_kl_of_our_bottleneck_is_not_lost():
    config = changed(host_config(), "training.loss_configs.bottleneck.weights.kl", 3.0)
    losses = make_wrapper(config).losses_gen.losses
    kl = [module for module in losses if module.name == "kl_loss"]
    assert len(kl) == 1 and kl[0].weight.item() == 3.0
    del config["training"]["loss_configs"]["bottleneck"]
    assert [m.weight.item() for m in make_wrapper(config).losses_gen.losses if m.name == "kl_loss"] == [
        pytest.approx(1e-6)
    ]


def test_the_users_own_term_trains(monkeypatch):
    from ear_sat.losses import registry

    class Mine(torch.nn.Module):
        def forward(self, preds, target):
            return (preds - target).square().mean()

    monkeypatch.setitem(registry.LOSS_TYPES, "mine", Mine)
    log, _, _ = log_of(make_wrapper(host_config(own={"type": "mine", "weights": {"square": 1.0}})))
    assert log.series("train/own/square")[0] > 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.phases", [], 'training.phases belongs to ear_sat\'s own wrapper: add "type": "ear"'),
        ("training.gradient_log_every", 5, "training.gradient_log_every belongs to"),
        ("training.latent_noise", 0.1, "training.latent_noise belongs to"),
        ("training.equivariance", {"time": [2]}, "training.equivariance belongs to"),
        ("training.loss_configs.bottleneck.target_kl", 0.5, "training.loss_configs.bottleneck.target_kl belongs to"),
        ("training.loss_configs.phase.config.windws", [64], "'windws'; did you mean 'windows'"),
        ("training.loss_configs.phase.type", "ear_corelation", "'ear_corelation'; did you mean 'ear_correlation'"),
        ("training.loss_configs.spektral", SPECTRAL, "entry in loss_configs 'spektral'; did you mean 'spectral'"),
        ("training.loss_configs.phase.decay", 0.9, "decay"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(path, value, message):
    with pytest.raises(UserError) as refused:
        make_wrapper(changed(host_config(phase=CORRELATION), path, value))
    assert message in str(refused.value)


def test_the_stock_config_with_one_term_trains():
    config = json.loads(STOCK.read_text(encoding="utf-8"))
    config["training"]["loss_configs"]["phase"] = CORRELATION
    log = Recorder()
    clip = audio(1, size=config["sample_size"])
    fit(make_wrapper(config), [(clip, ({},))] * 2, logger=log, log_every_n_steps=1)
    flat = {key for _, row in log.rows for key in row}
    assert {"train/phase/correlation", "train/mrstft_loss"} <= flat


def test_unwrapping_tells_the_two_wrappers_apart(tmp_path):
    """One loss config, two wrappers: each checkpoint comes back in the one that wrote it."""
    losses = {"phase": CORRELATION, "spectral": SPECTRAL}
    theirs = make_wrapper(host_config(phase=CORRELATION))
    ours = make_wrapper(model_config())
    for name, wrapper in (("theirs", theirs), ("ours", ours)):
        fit(wrapper, batches(1)).save_checkpoint(tmp_path / f"{name}.ckpt")
    for name, wrapper, kind in (("theirs", theirs, AutoencoderTrainingWrapper), ("ours", ours, EarTrainingWrapper)):
        fresh = make_wrapper(model_config(), seed=5).autoencoder
        config = losses if name == "theirs" else model_config()["training"]["loss_configs"]
        loaded = AutoencoderTrainingWrapper.load_from_checkpoint(
            tmp_path / f"{name}.ckpt", autoencoder=fresh, strict=False, loss_config=config, use_ema=False
        )
        assert isinstance(loaded, kind) and loaded.autoencoder is fresh
        for form in ("ckpt", "safetensors"):
            loaded.export_model(str(tmp_path / f"{name}_out.{form}"), form == "safetensors")
        from stable_audio_tools.models.utils import load_ckpt_state_dict

        expected = wrapper.autoencoder.state_dict()
        for form in ("ckpt", "safetensors"):
            state = load_ckpt_state_dict(str(tmp_path / f"{name}_out.{form}"))
            assert state.keys() == expected.keys()
            assert all(torch.equal(state[key], expected[key]) for key in expected)
