"""Phases in a running wrapper: who is trained, by which losses, at what rate."""

from __future__ import annotations

import pytest
from host_test_configs import (
    Recorder,
    Snapshots,
    adamw,
    batches,
    changed,
    fit,
    make_wrapper,
    model_config,
    same,
)

from ear_sat import UserError


def with_phases(*phases, **training):
    config = changed(model_config(), "training.phases", list(phases))
    config["training"].update(training)
    return config


def test_discriminator_alone_leaves_the_generator_as_it_is():
    config = with_phases({"name": "d", "steps": 2, "generator": False}, {"name": "both"}, use_ema=True)
    snapshots, log = Snapshots(), Recorder()
    fit(make_wrapper(config), batches(3), snapshots, logger=log)
    for prefix in ("autoencoder.", "autoencoder_ema."):
        assert [snapshots.differs(i, i + 1, prefix) for i in range(3)] == [False, False, True]
    assert [snapshots.differs(i, i + 1, "discriminator.") for i in range(3)] == [True, True, True]
    assert same(snapshots.optimizers[0][0], snapshots.optimizers[2][0])
    assert ["train/loss/total" in row for _, row in log.rows] == [False, False, True]
    assert [row["train/phase"] for _, row in log.rows] == [0, 0, 1]


def test_without_adversary_the_discriminator_stays_as_it_is():
    config = with_phases({"name": "plain", "steps": 2, "adversarial": False}, {"name": "both"})
    snapshots, log = Snapshots(), Recorder()
    fit(make_wrapper(config), batches(3), snapshots, logger=log)
    assert [snapshots.differs(i, i + 1, "discriminator.") for i in range(3)] == [False, False, True]
    assert [snapshots.differs(i, i + 1, "autoencoder.") for i in range(3)] == [True, True, True]
    assert same(snapshots.optimizers[0][1], snapshots.optimizers[2][1])
    assert ["train/raw/discriminator/adversarial" in row for _, row in log.rows] == [False, False, True]


@pytest.mark.parametrize("phase", [{"generator": False}, {"adversarial": False}])
def test_a_lone_player_moves_every_round_when_updates_alternate(phase):
    config = with_phases({"name": "lone", **phase}, update="alternate")
    snapshots = Snapshots()
    fit(make_wrapper(config), batches(3), snapshots)
    moving = "autoencoder." if phase.get("generator", True) else "discriminator."
    assert [snapshots.differs(i, i + 1, moving) for i in range(3)] == [True, True, True]


def test_a_phase_uses_the_losses_it_lists():
    config = with_phases(
        {"name": "few", "steps": 1, "losses": ["time", "bottleneck"]},
        {"name": "no KL", "steps": 1, "losses": ["magnitude", "discriminator"]},
        {"name": "all", "losses": "all"},
    )
    log = Recorder()
    fit(make_wrapper(config), batches(3), logger=log)
    used = [{key.split("/")[2] for key in row if key.startswith("train/weighted/")} for _, row in log.rows]
    assert used[0] == {"time", "bottleneck"}
    assert used[1] == {"magnitude", "discriminator"}
    assert used[2] == {"magnitude", "correlation", "phase_derivative", "time", "discriminator", "bottleneck"}


def test_rates_follow_the_phases_and_keep_their_ratio():
    config = with_phases(
        {"name": "a", "steps": 4, "lr_warmup_steps": 4},
        {"name": "b", "steps": 4, "lr": 0.5, "lr_milestones": [1, 3], "lr_gamma": 0.1},
        {"name": "c", "lr_warmup_steps": 2},
    )
    config["training"]["optimizer_configs"] = {"autoencoder": adamw(1e-2), "discriminator": adamw(3e-2)}
    snapshots, log = Snapshots(), Recorder()
    fit(make_wrapper(config), batches(11), snapshots, logger=log)
    expected = [0.0025, 0.005, 0.0075, 0.01, 0.5, 0.05, 0.05, 0.005, 0.005, 0.01, 0.01]
    assert [rates[0] for rates in snapshots.rates[1:]] == pytest.approx(expected)
    assert [rates[1] for rates in snapshots.rates[1:]] == pytest.approx([3 * rate for rate in expected])
    assert log.series("train/lr/generator") == pytest.approx(expected)


def test_without_phase_rates_the_optimizers_keep_theirs():
    config = with_phases({"name": "a", "steps": 1}, {"name": "b"})
    config["training"]["optimizer_configs"] = {"autoencoder": adamw(1e-2), "discriminator": adamw(3e-2)}
    snapshots = Snapshots()
    fit(make_wrapper(config), batches(2), snapshots)
    assert snapshots.rates == [[1e-2, 3e-2]] * 3


def test_a_scheduler_steps_with_its_player():
    scheduler = {"type": "InverseLR", "config": {"inv_gamma": 1.0, "power": 1.0}}
    config = changed(model_config(), "training.update", "alternate")
    config["training"]["optimizer_configs"] = {
        player: {**adamw(1e-2), "scheduler": scheduler} for player in ("autoencoder", "discriminator")
    }
    snapshots = Snapshots()
    fit(make_wrapper(config), batches(4), snapshots)
    # lr / (1 + steps taken)
    assert [rates[0] for rates in snapshots.rates] == pytest.approx([1e-2, 5e-3, 5e-3, 1e-2 / 3, 1e-2 / 3])
    assert [rates[1] for rates in snapshots.rates] == pytest.approx([1e-2, 1e-2, 5e-3, 5e-3, 1e-2 / 3])


def test_a_scheduler_beside_phase_rates_is_refused():
    config = with_phases({"name": "a", "lr_warmup_steps": 2})
    config["training"]["optimizer_configs"]["autoencoder"]["scheduler"] = {"type": "InverseLR", "config": {}}
    with pytest.raises(UserError, match=r"autoencoder has a scheduler and training\.phases set rates; drop one"):
        make_wrapper(config)


def test_a_scheduler_for_one_player_only_is_refused():
    config = model_config()
    config["training"]["optimizer_configs"]["autoencoder"]["scheduler"] = {"type": "InverseLR", "config": {}}
    with pytest.raises(UserError, match="give both optimizers a scheduler or neither"):
        make_wrapper(config)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "at least one phase"),
        ({"name": "a"}, "phases must be a list of objects"),
        (["warm-up"], r"phases\[0\] must be an object"),
        ([{"name": "a"}, {"name": "b"}], "'a' needs steps"),
        ([{"name": "a", "step": 3}], "unknown key in training.phases.0. 'step'; did you mean 'steps'"),
        ([{"name": "a", "steps": 0}], "steps must be a whole number of rounds of at least 1, not 0"),
        ([{"name": "a", "steps": "3"}], "steps must be a whole number of rounds of at least 1 or null, not '3'"),
        ([{"name": "a", "losses": ["magnitud"]}], "'magnitud'; did you mean 'magnitude'"),
        ([{"name": "a", "losses": "magnitude"}], "losses must be"),
        ([{"name": "a", "generator": False, "adversarial": False}], "trains nothing"),
        ([{"name": "a", "generator": "no"}], "generator must be true or false"),
        ([{"name": "a", "adversarial": False, "losses": ["discriminator"]}], 'lists "discriminator" while'),
        ([{"name": "a", "adversarial": True, "losses": ["magnitude"]}], 'leaves "discriminator" out while'),
        ([{"name": "a", "generator": False, "losses": ["magnitude"]}], "trains nothing"),
        ([{"generator": False, "adversarial": True, "losses": ["magnitude"]}], 'leaves "discriminator" out while'),
        ([{"name": "a", "lr": -1}], "lr must be a number above 0"),
        ([{"name": "a", "lr_milestones": 3}], "lr_milestones must be a list of whole numbers"),
    ],
)
def test_impossible_phases_are_refused(phases, message):
    with pytest.raises(UserError, match=message):
        make_wrapper(changed(model_config(), "training.phases", phases))


def test_an_adversarial_phase_needs_a_discriminator():
    config = with_phases({"name": "a", "adversarial": True})
    del config["training"]["loss_configs"]["discriminator"]
    with pytest.raises(UserError, match='loss_configs has no "discriminator"'):
        make_wrapper(config)


def test_validation_logs_ours_and_the_hosts_metrics():
    metrics = {"si_sdr_db": {}, "stft_distance": {}, "mel_distance": {}, "icpc": {}, "ccpc": {}, "snr_db": {}}
    hosts = {"sisdr": {}, "stft": {}, "mel": {"n_mels": 16}}
    config = changed(model_config(), "training.eval_loss_configs", metrics | hosts)
    wrapper, log = make_wrapper(config), Recorder()
    fit(wrapper, batches(1), val=batches(2, seed=7), logger=log)
    row = log.rows[-1][1]
    assert row.keys() == {f"val/{name}" for name in metrics | hosts}
    # Same definition, computed twice; auraloss takes the mean off and both average over clips.
    assert row["val/sisdr"] == pytest.approx(row["val/si_sdr_db"], abs=0.5)
    assert 0 <= row["val/icpc"] <= 1 and row["val/stft_distance"] > 0


def test_validation_with_the_hosts_metrics_alone():
    wrapper, log = make_wrapper(changed(model_config(), "training.eval_loss_configs", {"sisdr": {}})), Recorder()
    fit(wrapper, batches(1), val=batches(1), logger=log)
    assert log.rows[-1][1].keys() == {"val/sisdr"}
