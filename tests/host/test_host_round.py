"""One round of the training wrapper: its gradients are those of plain autograd, and each player keeps to itself."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from host_test_configs import (
    ABSENT,
    Gradients,
    Recorder,
    Snapshots,
    audio,
    batches,
    changed,
    fit,
    make_wrapper,
    model_config,
    same,
    sgd,
)
from pytorch_lightning import plugins

from ear_sat.losses import discriminator_loss, feature_matching, generator_loss
from ear_sat.training.round import reconstruct

BOTH = {"autoencoder": sgd(), "discriminator": sgd()}


def plain_sgd(config):
    return changed(config, "training.optimizer_configs", BOTH)


def reference_gradients(wrapper, reals):
    """Both players' gradients by one graph each, written down as in a textbook."""
    model, discriminator = copy.deepcopy(wrapper.autoencoder), copy.deepcopy(wrapper.discriminator)
    latents, info = model.encode(reals, return_info=True)
    decoded = model.decode(latents)
    discriminator_loss(discriminator(reals).logits, discriminator(decoded.detach()).logits).backward()
    of_discriminator = {name: p.grad.clone() for name, p in discriminator.named_parameters()}
    fake = discriminator(decoded)
    real = [[f.detach() for f in layers] for layers in discriminator(reals).features]
    loss = (
        wrapper.bundle(decoded, reals).total
        + wrapper.adversarial_weights["adversarial"] * generator_loss(fake.logits)
        + wrapper.adversarial_weights["feature_matching"] * feature_matching(preds=fake.features, target=real)
        + wrapper.bottleneck_weights["kl"] * info["kl"]
    )
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, of_discriminator, loss.item()


def assert_close(got, expected):
    """To 1e-3 of each tensor (the gradients of α and β are sums over time that nearly cancel), 1e-4 of the whole."""
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            got[name], expected[name], rtol=0, atol=1e-3 * expected[name].abs().max().item() + 1e-9
        )
    error = sum((got[name] - expected[name]).square().sum() for name in expected)
    assert error.sqrt() <= 1e-4 * sum(g.square().sum() for g in expected.values()).sqrt()


def test_a_round_has_the_gradients_of_plain_autograd():
    wrapper, data = make_wrapper(plain_sgd(model_config(sample="never"))), batches(1)
    generator, discriminator, loss = reference_gradients(wrapper, data[0][0])
    gradients, log = Gradients(), Recorder()
    fit(wrapper, data, gradients, logger=log)
    assert_close(gradients.generator[0], generator)
    assert_close(gradients.discriminator[0], discriminator)
    assert log.series("train/loss/total") == pytest.approx([loss], rel=1e-5)


def test_alternating_rounds_have_the_same_gradients():
    config = changed(plain_sgd(model_config(sample="never")), "training.update", "alternate")
    config = changed(config, "training.optimizer_configs.autoencoder", sgd(1e-30))
    wrapper, data = make_wrapper(config), batches(2)
    (generator, _, _), (_, discriminator, _) = (reference_gradients(wrapper, reals) for reals, _ in data)
    gradients = Gradients()
    fit(wrapper, data, gradients)
    assert_close(gradients.generator[0], generator)
    assert_close(gradients.discriminator[0], discriminator)
    assert (len(gradients.generator), len(gradients.discriminator)) == (1, 1)


def test_measuring_the_terms_changes_no_gradient():
    config, data = plain_sgd(model_config(sample="never")), batches(3)
    runs = []
    for every in (0, 1):
        gradients, log = Gradients(), Recorder()
        wrapper = make_wrapper(changed(config, "training.gradient_log_every", every))
        fit(wrapper, data, gradients, logger=log)
        runs.append((gradients.generator, gradients.discriminator))
    assert same(runs[0], runs[1])
    measured = {key.removeprefix("train/output_gradient/") for key in log.rows[0][1] if "output_gradient" in key}
    assert measured == {
        "magnitude/log",
        "magnitude/convergence",
        "correlation/correlation",
        "phase_derivative/if",
        "phase_derivative/gd",
        "time/l1",
        "discriminator/adversarial",
        "discriminator/feature_matching",
    }


def test_logged_parts_sum_to_the_total_and_shares_to_one():
    log = Recorder()
    fit(make_wrapper(model_config()), batches(2), logger=log)
    for _, row in log.rows:
        weighted = [value for key, value in row.items() if key.startswith("train/weighted/")]
        assert sum(weighted) == pytest.approx(row["train/loss/total"], rel=1e-5)
        assert sum(v for k, v in row.items() if k.startswith("train/share/")) == pytest.approx(1.0)
        assert len(weighted) == 9
        assert row["train/weighted/time/l1"] == pytest.approx(0.5 * row["train/raw/time/l1"])
        assert row["train/weighted/bottleneck/kl"] == pytest.approx(1e-3 * row["train/raw/bottleneck/kl"])


def test_log_keys_are_paths_below_train():
    log = Recorder()
    fit(make_wrapper(model_config()), batches(2), logger=log)
    assert [step for step, _ in log.rows] == [1, 2]
    keys = log.rows[-1][1]
    assert all(key.startswith("train/") and " " not in key and "//" not in key for key in keys)
    assert {
        "train/loss/discriminator",
        "train/lr/generator",
        "train/lr/discriminator",
        "train/grad_norm/generator",
        "train/grad_norm/discriminator",
        "train/latent/std",
        "train/phase",
        "train/bad_batches",
    } <= keys.keys()


def test_alternate_moves_one_player_a_round():
    snapshots = Snapshots()
    fit(make_wrapper(changed(model_config(), "training.update", "alternate")), batches(4), snapshots)
    generator = [snapshots.differs(i, i + 1, "autoencoder.") for i in range(4)]
    discriminator = [snapshots.differs(i, i + 1, "discriminator.") for i in range(4)]
    assert (generator, discriminator) == ([True, False, True, False], [False, True, False, True])
    assert snapshots.rounds == [0, 1, 2, 3, 4]


def test_both_moves_both_players_every_round():
    snapshots = Snapshots()
    fit(make_wrapper(model_config()), batches(3), snapshots)
    for i in range(3):
        assert snapshots.differs(i, i + 1, "autoencoder.") and snapshots.differs(i, i + 1, "discriminator.")


def test_moments_of_the_resting_player_stay():
    """Adam's moments of a player that is not updated do not decay."""
    snapshots = Snapshots()
    fit(make_wrapper(changed(model_config(), "training.update", "alternate")), batches(3), snapshots)
    assert same(snapshots.optimizers[1][0], snapshots.optimizers[2][0])
    assert same(snapshots.optimizers[2][1], snapshots.optimizers[3][1])


def test_two_runs_with_one_seed_are_equal():
    finals = []
    for _ in range(2):
        wrapper = make_wrapper(changed(model_config(), "training.use_ema", True))
        torch.manual_seed(1)
        fit(wrapper, batches(4))
        finals.append({key: value.clone() for key, value in wrapper.state_dict().items()})
    assert same(*finals)


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_clipping_bounds_each_players_step(scale):
    """Under fp16 too, where gradients carry the scale of the loss."""
    limits = {"generator": 0.01, "discriminator": 0.02}
    config = changed(plain_sgd(model_config()), "training.clip_grad_norm", limits)
    snapshots, log = Snapshots(), Recorder()
    fit(make_wrapper(config), batches(1), snapshots, logger=log, plugins=[] if scale is None else [fp16(scale)])
    for player, prefix in (("generator", "autoencoder."), ("discriminator", "discriminator.")):
        before, after = snapshots.states[0], snapshots.states[1]
        names = [n for n in before if n.startswith(prefix)]
        # Both activations of a residual unit are one module under two names.
        unique = {n: after[n] - before[n] for n in names if ".layers.2.alpha" not in n and ".layers.2.beta" not in n}
        step = torch.stack([d.square().sum() for d in unique.values()]).sum().sqrt().item()
        assert log.series(f"train/grad_norm/{player}")[0] > limits[player]
        assert step == pytest.approx(limits[player], rel=1e-2)


def test_accumulating_two_half_batches_is_one_whole():
    """All but feature matching, which is a ratio of means over the batch, are means over clips."""
    config = changed(
        plain_sgd(model_config(sample="never")), "training.loss_configs.discriminator.weights", {"adversarial": 0.1}
    )
    whole, halves = Gradients(), Gradients()
    log_whole, log_halves = Recorder(), Recorder()
    reals = audio(4)
    fit(make_wrapper(config), [(reals, ())], whole, logger=log_whole)
    wrapper = make_wrapper(config)
    wrapper.accumulate = 2
    fit(wrapper, [(reals[:2], ()), (reals[2:], ())], halves, logger=log_halves)
    assert wrapper.rounds == 1 and len(halves.generator) == 1
    assert_close(halves.generator[0], whole.generator[0])
    assert_close(halves.discriminator[0], whole.discriminator[0])
    for key, value in log_whole.rows[0][1].items():
        if key.startswith(("train/raw/", "train/weighted/", "train/loss/")) and "feature_matching" not in key:
            assert log_halves.rows[0][1][key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


def test_moving_average_follows_at_a_distance():
    config = changed(changed(model_config(), "training.use_ema", True), "training.ema", {"beta": 0.5, "power": 100.0})
    snapshots = Snapshots()
    fit(make_wrapper(config), batches(5), snapshots)
    name = "decoder.layers.0.weight_v"
    online = [state[f"autoencoder.{name}"] for state in snapshots.states]
    average = [state[f"autoencoder_ema.ema_model.{name}"] for state in snapshots.states]
    assert torch.equal(average[0], online[0])
    assert not torch.equal(average[5], online[5])
    for before, now, weights in zip(average[3:], average[4:], online[4:], strict=False):
        torch.testing.assert_close(now, 0.5 * before + 0.5 * weights)


def test_without_moving_average_the_model_itself_is_exported(tmp_path):
    wrapper = make_wrapper(model_config())
    wrapper.export_model(str(tmp_path / "model.ckpt"))
    stored = torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"]
    assert same(stored, dict(wrapper.autoencoder.state_dict()))


def test_latent_mask_silences_the_decoder_at_one():
    """With every latent masked the decoder sees zeros, so the input does not matter."""
    totals = []
    for seed in (1, 2):
        wrapper = make_wrapper(changed(model_config(), "training.latent_mask_ratio", 1.0))
        seen = []
        wrapper.autoencoder.decoder.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        fit(wrapper, batches(1, seed=seed))
        totals.append(seen[0])
    assert all(not z.any() for z in totals)


def test_latent_mask_takes_its_share():
    wrapper = make_wrapper(changed(model_config(), "training.latent_mask_ratio", 0.25))
    seen = []
    wrapper.autoencoder.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    fit(wrapper, batches(1, batch=4))
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_force_input_mono_encodes_the_mean():
    config = changed(model_config(encoder_channels=1), "training.force_input_mono", True)
    config["model"]["in_channels"], config["model"]["out_channels"] = 1, 2
    wrapper, seen, data = make_wrapper(config), [], batches(1)
    wrapper.autoencoder.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    snapshots = Snapshots()
    fit(wrapper, data, snapshots)
    assert torch.equal(seen[0], data[0][0].mean(1, keepdim=True))
    assert snapshots.differs(0, 1, "autoencoder.encoder.")
    assert reconstruct(wrapper, data[0][0]).shape == data[0][0].shape


def test_mono_model_trains():
    snapshots = Snapshots()
    fit(make_wrapper(model_config(channels=1)), batches(2, channels=1), snapshots)
    assert snapshots.rounds == [0, 1, 2]
    assert snapshots.differs(1, 2, "autoencoder.") and snapshots.differs(1, 2, "discriminator.")


@pytest.mark.parametrize(
    "without",
    ["magnitude", "correlation", "phase_derivative", "time", "discriminator", "bottleneck"],
)
def test_every_entry_can_be_left_out(without):
    log = Recorder()
    wrapper = make_wrapper(changed(model_config(), f"training.loss_configs.{without}", ABSENT))
    fit(wrapper, batches(2), logger=log)
    assert wrapper.rounds == 2
    assert not any(f"/{without}/" in key for key in log.rows[-1][1])


@pytest.mark.parametrize("alone", ["magnitude", "correlation", "phase_derivative", "time", "discriminator"])
def test_every_entry_trains_alone(alone):
    config = model_config()
    config["training"]["loss_configs"] = {alone: config["training"]["loss_configs"][alone]}
    snapshots = Snapshots()
    fit(make_wrapper(config), batches(1), snapshots)
    assert snapshots.differs(0, 1, "autoencoder.decoder.") and snapshots.differs(0, 1, "autoencoder.encoder.")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.loss_configs.magnitude.config.weighting", "a"),
        ("training.loss_configs.magnitude.config.weighting_mode", "bins"),
        ("training.loss_configs.magnitude.config.channels", ["m", "s"]),
        ("training.loss_configs.magnitude.weights", {"linear": 1.0}),
        ("training.loss_configs.correlation.config.channels", "ms"),
        ("training.loss_configs.phase_derivative.config.channels", "ms"),
        ("training.loss_configs.phase_derivative.config.wrapping", "none"),
        ("training.loss_configs.phase_derivative.config.bin_weighting", "none"),
        ("training.loss_configs.discriminator.config.channels", "mslr"),
        ("training.loss_configs.discriminator.config.loss", "hinge"),
        ("training.loss_configs.discriminator.config.loss", "relativistic"),
        ("training.loss_configs.time", {"type": "l2", "weights": {"l2": 1.0}}),
        ("model.decoder.config.transformer", ABSENT),
        ("model.bottleneck.config.sample", "always"),
        ("training.loss_configs.time.start_step", 1),
    ],
)
def test_variants_train(path, value):
    wrapper, snapshots = make_wrapper(changed(model_config(), path, value)), Snapshots()
    fit(wrapper, batches(2), snapshots)
    assert wrapper.rounds == 2 and wrapper.faults.total == 0
    assert snapshots.differs(1, 2, "autoencoder.")


def test_start_step_counts_rounds_of_the_run():
    config = changed(model_config(), "training.loss_configs.time.start_step", 2)
    config["training"]["phases"] = [{"name": "a", "steps": 1}, {"name": "b"}]
    log = Recorder()
    fit(make_wrapper(config), batches(4), logger=log)
    assert ["train/raw/time/l1" in row for _, row in log.rows] == [False, False, True, True]


def test_the_hosts_discriminator_has_the_gradients_of_plain_autograd():
    settings = {"filters": 4, "n_ffts": [128], "hop_lengths": [32], "win_lengths": [128]}
    entry = {"type": "encodec", "config": settings, "weights": {"adversarial": 0.1, "feature_matching": 5.0}}
    config = changed(plain_sgd(model_config(sample="never")), "training.loss_configs.discriminator", entry)
    wrapper, data = make_wrapper(config), batches(1)
    twin = make_wrapper(config)
    model, judge, reals = twin.autoencoder, twin.discriminator, data[0][0]
    latents, info = model.encode(reals, return_info=True)
    decoded = model.decode(latents)
    judge.loss(reals=reals, fakes=decoded.detach())[0].backward()
    of_discriminator = {n: p.grad.clone() for n, p in judge.named_parameters() if p.grad is not None}
    _, adversarial, matching = judge.loss(reals=reals, fakes=decoded)
    (wrapper.bundle(decoded, reals).total + 0.1 * adversarial + 5 * matching + 1e-3 * info["kl"]).backward()
    gradients = Gradients()
    fit(wrapper, data, gradients)
    assert_close(gradients.discriminator[0], of_discriminator)
    assert_close(gradients.generator[0], {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})


def fp16(scale, growth_interval=1000):
    """Lightning's plugin for fp16 on the CPU."""
    amp = getattr(plugins, "MixedPrecision", None) or plugins.MixedPrecisionPlugin  # its name before Lightning 2.2
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth_interval)
    return amp("16-mixed", "cpu", scaler)


@pytest.mark.parametrize("growth_interval", [1, 2])
def test_both_players_gradients_are_freed_of_the_scale_they_were_made_with(growth_interval):
    """fp16: Lightning updates the scale at every step, the generator's first."""

    def norms(interval):
        rest = {"autoencoder": sgd(1e-30), "discriminator": sgd(1e-30)}
        wrapper = make_wrapper(changed(model_config(sample="never"), "training.optimizer_configs", rest))
        gradients, plugin = Gradients(), fp16(1024.0, interval)
        clips = [(audio(1, size=1024, seed=i), ()) for i in range(3)]  # the CPU computes fp16 slowly
        fit(wrapper, clips, gradients, plugins=[plugin])
        assert (plugin.scaler.get_scale() > 1024) == (interval < 100)
        players = (gradients.generator, gradients.discriminator)
        return [torch.stack([g.norm() for g in step.values()]).norm().item() for steps in players for step in steps]

    assert norms(growth_interval) == pytest.approx(norms(1000), rel=0.02)


def test_measuring_the_terms_keeps_no_graph_for_the_generators_backward(monkeypatch):
    """Else every round that measures needs the memory of all graphs at once."""

    def alive(every):
        wrapper = make_wrapper(changed(model_config(sample="never"), "training.gradient_log_every", every))
        saved, counts, backward = weakref.WeakSet(), [], wrapper.manual_backward

        class Saved:
            def __init__(self, tensor):
                self.tensor = tensor
                saved.add(self)

        def counted(loss, **options):
            counts.append(sum(item.tensor.nbytes for item in saved))
            backward(loss, **options)

        monkeypatch.setattr(wrapper, "manual_backward", counted)
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda item: item.tensor):
            fit(wrapper, batches(1))
        return counts[-1]  # the generator's comes last

    assert alive(1) == alive(0)
