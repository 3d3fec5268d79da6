"""A misspelt word anywhere in the training section stops with the close match, before anything is trained."""

from __future__ import annotations

import copy
import functools

import pytest
from host_test_configs import ABSENT, Recorder, batches, changed, fit, make_wrapper, model_config

from ear_sat import UserError

T = "training."
L = "training.loss_configs."


def full_config():
    """A config with every section that has keys of its own."""
    config = changed(model_config(), T + "use_ema", True)
    config["training"] |= {
        "ema": {"beta": 0.5},
        "update": "both",
        "clip_grad_norm": {"generator": 1.0},
        "latent_noise": 0.1,
        "equivariance": {"probability": 0.5, "gain_db": [-6, 6], "time": [2]},
        "phases": [{"name": "all", "lr": 1e-3}],
        "eval_loss_configs": {"stft_distance": {}, "sisdr": {}, "mel": {"n_mels": 16}},
    }
    shares = {"magnitude": 0.5, "discriminator": 0.5}
    config["training"]["balance"] = {"type": "gradient", "every": 10, "shares": shares}
    config["training"]["loss_configs"]["bottleneck"]["target_kl"] = 0.5
    magnitude = config["training"]["loss_configs"]["magnitude"]["config"]
    magnitude |= {"weighting": "k", "weighting_mode": "gain", "log_floor_reference": "clip"}
    config["training"]["loss_configs"]["discriminator"]["config"] |= {"channels": "mslr", "loss": "relativistic"}
    config["training"]["loss_configs"]["phase_derivative"]["config"]["wrapping"] = "none"
    return config


#: Objects whose keys are names that the user gives, and one whose keys the host checks.
FREE, HOSTS = {L[:-1]}, {T + "eval_loss_configs.mel"}
#: Choices that stand as values in the config above.
CHOICES = [
    *("model.encoder.type", "model.decoder.type", "model.bottleneck.type", "model.bottleneck.config.sample"),
    *(T + "balance.type", T + "update", T + "optimizer_configs.autoencoder.optimizer.type", L + "bottleneck.type"),
    *(L + f"{entry}.type" for entry in ("magnitude", "correlation", "phase_derivative", "discriminator")),
    *(L + f"magnitude.config.{key}" for key in ("weighting_mode", "log_floor_reference")),
    *(
        L + "discriminator.config.channels",
        L + "discriminator.config.loss",
        L + "correlation.config.bin_weighting",
        L + "phase_derivative.config.wrapping",
    ),
]


def keys(config, path):
    """The paths of all keys that are not the user's own names."""
    for key, value in config.items():
        here = f"{path}{key}"
        if path[:-1] not in FREE:
            yield here
        if isinstance(value, dict) and here not in HOSTS:
            yield from keys(value, f"{here}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield from keys(value[0], f"{here}.0.")


def refusal(config):
    """What the config is refused with: one line, and nothing is written to it."""
    before = copy.deepcopy(config)
    with pytest.raises(UserError) as caught:
        make_wrapper(config)
    assert config == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


PATHS = [key for key in keys(full_config()["training"], T) if key != T + "type" and not key.startswith(T + "demo.")]
for part in ("encoder", "decoder", "bottleneck"):
    PATHS += keys(model_config()["model"][part]["config"], f"model.{part}.config.")


@pytest.mark.parametrize("path", PATHS)
def test_a_misspelt_key_is_named_with_the_right_one(path):
    parent, _, key = path.rpartition(".")
    wrong = key + key[-1]
    config = full_config()
    value = functools.reduce(
        lambda place, name: place[int(name) if name.isdecimal() else name], path.split("."), config
    )
    message = refusal(changed(changed(config, path, ABSENT), f"{parent}.{wrong}", value))
    assert f"'{wrong}'; did you mean '{key}'" in message


@pytest.mark.parametrize("path", CHOICES)
def test_a_misspelt_choice_is_named_with_the_right_one(path):
    config = full_config()
    right = functools.reduce(dict.__getitem__, path.split("."), config)
    message = refusal(changed(config, path, right + right[-1]))
    assert f"'{right + right[-1]}'; did you mean '{right}'" in message


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        (T + "clip_grad_norm", "1", "clip_grad_norm"),
        (T + "log_every", 0, "log_every"),
        (T + "log_every", "10", "log_every"),
        (T + "gradient_log_every", -1, "gradient_log_every"),
        (T + "latent_mask_ratio", 1.5, "latent_mask_ratio"),
        (T + "latent_noise", -0.1, "training.latent_noise must be a number of at least 0"),
        (T + "equivariance", [2], "training.equivariance must be a JSON object"),
        (T + "equivariance.probability", 1.5, "equivariance.probability must be a number of at least 0 and at most 1"),
        (T + "equivariance.gain_db", [6, -6], "equivariance.gain_db must be [lowest, highest] in dB"),
        (T + "equivariance.gain_db", 6, "equivariance.gain_db must be a list of 2 numbers"),
        (T + "equivariance.gain_db", [-600, 0], "equivariance.gain_db[0] must be a number of dB of at least -60"),
        (T + "equivariance.time", [0.5], "equivariance.time[0] must be a whole number of at least 1"),
        (T + "equivariance.time", [], "equivariance.time is empty"),
        (T + "equivariance", {"probability": 0.5, "time": [1]}, "equivariance changes nothing"),
        (T + "equivariance", {}, "equivariance changes nothing"),
        (L + "bottleneck.target_kl", 0, "bottleneck.target_kl must be a number above 0"),
        (L + "bottleneck.weights", {"kl": 0}, "target_kl adapts the weight of kl, which must begin above 0"),
        (T + "use_ema", "yes", "use_ema"),
        (T + "force_input_mono", 1, "force_input_mono"),
        (T + "loss_configs", {}, "loss_configs is missing"),
        (T + "optimizer_configs.autoencoder.optimizer", {}, "type"),
        (T + "optimizer_configs.autoencoder", {}, 'needs "autoencoder" with an "optimizer"'),
        (T + "eval_loss_configs", {"mel": {"n_mel": 16}}, "mel"),
        (T + "eval_loss_configs", {"icpc": {"window": 16}}, "icpc"),
        (L + "discriminator", "encodec", "discriminator"),
        (L + "discriminator.type", "encodek", "did you mean 'encodec'"),  # one of the host's
        (
            L + "discriminator",
            {"type": "encodec", "config": {"filters": 1, "n_fft": 1}, "weights": {"adversarial": 1}},
            "n_fft",
        ),
        (L + "bottleneck", 3, "bottleneck"),
        ("model.downsampling_ratio", 64, "multiply to 32, downsampling_ratio says 64"),
        ("model.latent_dim", 16, "the decoder's latent_dim is 32, the model's is 16"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(path, value, word):
    assert word in refusal(changed(full_config(), path, value))


def test_the_configs_stay_as_they_were():
    config = changed(model_config(), "training.use_ema", True)
    before = copy.deepcopy(config)
    make_wrapper(config)
    assert config == before


def test_our_losses_without_our_type_say_which_type_is_missing():
    config = model_config()
    del config["training"]["type"]
    with pytest.raises(UserError, match=r'log_every belongs to .* add "type": "ear"'):
        make_wrapper(config)


@pytest.mark.parametrize(("kind", "key"), [("InverseLr", ""), ("InverseLR", "inv_gama")])
def test_the_hosts_schedulers_are_known_by_their_words(kind, key):
    scheduler = {"type": kind, "config": {key: 1} if key else {}}
    config = changed(model_config(), T + "optimizer_configs.autoencoder.scheduler", scheduler)
    assert f"did you mean '{'inv_gamma' if key else 'InverseLR'}'" in refusal(config)


def test_a_weight_the_hosts_bottleneck_does_not_have_is_named():
    """What the host's bottlenecks report is known only when they run."""
    config = changed(model_config(), "model.bottleneck", {"type": "vae"})
    wrapper = make_wrapper(changed(config, L + "bottleneck.weights", {"kll": 1.0}))
    with pytest.raises(UserError, match="'kll'; did you mean 'kl'"):
        fit(wrapper, batches(1))


def test_the_hosts_bottleneck_trains():
    log = Recorder()
    fit(make_wrapper(changed(model_config(), "model.bottleneck", {"type": "vae"})), batches(1), logger=log)
    assert log.rows[0][1]["train/raw/bottleneck/kl"] > 0


def test_the_demo_section_is_checked():
    from stable_audio_tools.training import create_demo_callback_from_config

    with pytest.raises(UserError, match="'demo_evry'; did you mean 'demo_every'"):
        create_demo_callback_from_config(changed(model_config(), "training.demo", {"demo_evry": 1}), demo_dl=None)
