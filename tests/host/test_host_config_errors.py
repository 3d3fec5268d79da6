"""A misspelt word anywhere in the training section stops with the close match, before anything is trained."""

from __future__ import annotations

import copy

import pytest
from host_test_configs import Recorder, batches, changed, fit, make_wrapper, model_config

from ear_sat import UserError

T = "training."
L = "training.loss_configs."


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (T + "use_emma", True, "key in training 'use_emma'; did you mean 'use_ema'"),
        (T + "type", "eer", "training.type 'eer'; did you mean 'ear'"),
        (T + "update", "bot", "training.update 'bot'; did you mean 'both'"),
        (T + "ema", {"betta": 0.5}, "key in training.ema 'betta'; did you mean 'beta'"),
        (T + "clip_grad_norm", {"generatr": 1.0}, "'generatr'; did you mean 'generator'"),
        (T + "clip_grad_norm", "1", "clip_grad_norm"),
        (T + "log_every", 0, "log_every"),
        (T + "log_every", "10", "log_every"),
        (T + "gradient_log_every", -1, "gradient_log_every"),
        (T + "latent_mask_ratio", 1.5, "latent_mask_ratio"),
        (T + "use_ema", "yes", "use_ema"),
        (T + "force_input_mono", 1, "force_input_mono"),
        (T + "loss_configs", {}, "loss_configs is missing"),
        (T + "optimizer_configs.autoencodr", {}, "'autoencodr'; did you mean 'autoencoder'"),
        (T + "optimizer_configs.autoencoder.optimiser", {}, "'optimiser'; did you mean 'optimizer'"),
        (T + "optimizer_configs.autoencoder.optimizer.type", "AdamWW", "'AdamWW'; did you mean 'AdamW'"),
        (T + "optimizer_configs.autoencoder.optimizer.typ", "AdamW", "'typ'; did you mean 'type'"),
        (T + "optimizer_configs.autoencoder.optimizer.config.beta", [0.5, 0.9], "'beta'; did you mean 'betas'"),
        (T + "optimizer_configs.autoencoder.optimizer", {}, "type"),
        (T + "optimizer_configs.autoencoder", {}, 'needs "autoencoder" with an "optimizer"'),
        (
            T + "optimizer_configs.autoencoder.scheduler",
            {"type": "InverseLr", "config": {}},
            "did you mean 'InverseLR'",
        ),
        (
            T + "optimizer_configs.autoencoder.scheduler",
            {"type": "InverseLR", "config": {"inv_gama": 1}},
            "'inv_gama'; did you mean 'inv_gamma'",
        ),
        (T + "eval_loss_configs", {"stft_distanc": {}}, "'stft_distanc'; did you mean 'stft_distance'"),
        (T + "eval_loss_configs", {"sisd": {}}, "'sisd'; did you mean 'sisdr'"),
        (T + "eval_loss_configs", {"mel": {"n_mel": 16}}, "mel"),
        (T + "eval_loss_configs", {"icpc": {"window": 16}}, "icpc"),
        (L + "magnitude.type", "ear_magnitud", "'ear_magnitud'; did you mean 'ear_magnitude'"),
        (L + "magnitude.wieghts", {}, "'wieghts'; did you mean 'weights'"),
        (L + "magnitude.weights", {"lg": 1.0}, "'lg'; did you mean 'log'"),
        (L + "magnitude.weights", {"log": "1"}, "must be a finite number, not '1'"),
        (L + "magnitude.weights", {}, "weights is missing"),
        (L + "magnitude.start_step", -1, "start_step"),
        (L + "magnitude.config.window", [256], "'window'; did you mean 'windows'"),
        (L + "magnitude.config.weighting", "K", "'K'; did you mean 'k'"),
        (L + "magnitude.config.weighting_mode", "bin", "'bin'; did you mean 'bins'"),
        (L + "magnitude.config.channels", "msx", "channel"),
        (L + "magnitude.config.channels", ["x"], "'x'"),
        (L + "magnitude", "ear_magnitude", "must be an object"),
        (L + "correlation.config.bin_weighting", "magnitud", "'magnitud'; did you mean 'magnitude'"),
        (L + "phase_derivative.config.wrapping", "princpal", "'princpal'; did you mean 'principal'"),
        (L + "discriminator.type", "ear_mrstf", "'ear_mrstf'; did you mean 'ear_mrstft'"),
        (L + "discriminator.type", "encodc", "'encodc'; did you mean 'encodec'"),
        (L + "discriminator.config.filter", 4, "'filter'; did you mean 'filters'"),
        (L + "discriminator.config.channels", "mlsr", "'mlsr'; did you mean 'mslr'"),
        (L + "discriminator.weights", {"adversarail": 1}, "'adversarail'; did you mean 'adversarial'"),
        (L + "discriminator", "encodec", "discriminator"),
        (
            L + "discriminator",
            {"type": "encodec", "config": {"filters": 4, "n_fft": 1}, "weights": {"adversarial": 1}},
            "n_fft",
        ),
        (L + "discriminator.type", "encodek", "'encodek'; did you mean 'encodec'"),
        (L + "bottleneck.type", "klm", "'klm'; did you mean 'kl'"),
        (L + "bottleneck.weights", {"kll": 1}, "'kll'; did you mean 'kl'"),
        (L + "bottleneck", 3, "bottleneck"),
    ],
)
def test_a_wrong_word_stops_with_the_close_match(path, value, message):
    config = changed(changed(model_config(), "training.use_ema", True), path, value)
    before = copy.deepcopy(config)
    with pytest.raises(UserError) as caught:
        make_wrapper(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert config == before


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


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.encoder.type", "ear_encodr", "encoder type 'ear_encodr'; did you mean 'ear_encoder'"),
        ("model.decoder.type", "ear_decodr", "decoder type 'ear_decodr'; did you mean 'ear_decoder'"),
        ("model.bottleneck.type", "ear_va", "bottleneck type 'ear_va'; did you mean 'ear_vae'"),
        ("model.encoder.config.chanels", 4, "'chanels'; did you mean 'channels'"),
        ("model.decoder.config.transformer.dept", 1, "'dept'; did you mean 'depth'"),
        ("model.bottleneck.config.sample", "alway", "'alway'; did you mean 'always'"),
        ("model.downsampling_ratio", 64, "multiply to 32, downsampling_ratio says 64"),
        ("model.latent_dim", 16, "the decoder's latent_dim is 32, the model's is 16"),
    ],
)
def test_wrong_models_are_refused(path, value, message):
    with pytest.raises(UserError) as caught:
        make_wrapper(changed(model_config(), path, value))
    assert message in str(caught.value)


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
