"""Batches that are not finite are skipped as if they had never come, and counted; too many in a row end the run."""

from __future__ import annotations

import pytest
import torch
from host_test_configs import Recorder, Snapshots, audio, batches, changed, fit, make_wrapper, model_config, same

from ear_sat import UserError
from ear_sat.training.run.checkpoint_io import AtomicCheckpointIO


def bad(value=float("nan")):
    reals = audio()
    reals[0, 0, 7] = value
    return reals, ({}, {})


def config():
    return changed(model_config(sample="never"), "training.use_ema", True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_bad_batch_changes_nothing(value):
    good = batches(2)
    wrapper, snapshots, log = make_wrapper(config()), Snapshots(), Recorder()
    fit(wrapper, [good[0], bad(value), good[1]], snapshots, logger=log)
    assert same(snapshots.states[1], snapshots.states[2])
    assert same(snapshots.optimizers[1], snapshots.optimizers[2])
    assert snapshots.rounds == [0, 1, 1, 2]
    assert snapshots.differs(2, 3, "autoencoder.")
    assert log.series("train/bad_batches") == [0, 1]
    untroubled = make_wrapper(config())
    fit(untroubled, good)
    assert same(dict(wrapper.state_dict()), dict(untroubled.state_dict()))


def test_a_bad_half_costs_the_whole_window():
    good = batches(4)
    wrapper, snapshots = make_wrapper(config()), Snapshots()
    wrapper.accumulate = 2
    fit(wrapper, [good[0], good[1], good[2], bad(), good[2], good[3]], snapshots)
    assert snapshots.rounds == [0, 0, 1, 1, 1, 1, 2]
    assert same(snapshots.states[2], snapshots.states[4])
    untroubled = make_wrapper(config())
    untroubled.accumulate = 2
    fit(untroubled, good)
    assert same(dict(wrapper.state_dict()), dict(untroubled.state_dict()))


def test_alternation_does_not_lose_step():
    """The round after a skipped one belongs to the player that missed it."""
    good, snapshots = batches(2), Snapshots()
    fit(make_wrapper(changed(config(), "training.update", "alternate")), [good[0], bad(), good[1]], snapshots)
    assert snapshots.differs(2, 3, "discriminator.") and not snapshots.differs(2, 3, "autoencoder.")


def test_only_bad_batches_stop_the_run_and_say_what_was_bad(tmp_path):
    wrapper = make_wrapper(changed(config(), "training.max_bad_batches", 3))
    trainer = fit(wrapper, batches(1), plugins=[AtomicCheckpointIO()])
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(str(path))
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"3 batches in a row were not finite, first bad: input/peak"):
        fit(wrapper, [bad()] * 5)
    assert wrapper.faults.total == 3
    assert path.read_bytes() == before
    assert all(value.isfinite().all() for value in wrapper.state_dict().values())


def test_a_bad_term_is_named():
    """A finite input whose loss is not finite: the message names the term."""

    class Broken(torch.nn.Module):
        def forward(self, preds, target):
            return preds.mean() / 0

    wrapper = make_wrapper(changed(config(), "training.max_bad_batches", 1))
    wrapper.bundle.entries["time"] = wrapper.bundle.entries["time"]._replace(module=Broken())
    with pytest.raises(UserError, match=r"first bad: .*time/l1"):
        fit(wrapper, batches(1))


def test_a_good_batch_starts_the_count_again():
    wrapper, good = make_wrapper(changed(config(), "training.max_bad_batches", 2)), batches(3)
    fit(wrapper, [bad(), good[0], bad(), good[1], bad(), good[2]])
    assert (wrapper.rounds, wrapper.faults.total, wrapper.faults.in_a_row) == (3, 3, 0)


def test_a_bad_gradient_behind_finite_losses_is_caught():
    wrapper, snapshots = make_wrapper(config()), Snapshots()
    calls = []

    def spoil(gradient):
        calls.append(1)
        return gradient * float("nan") if len(calls) == 2 else gradient

    next(wrapper.autoencoder.decoder.parameters()).register_hook(spoil)
    fit(wrapper, batches(3), snapshots)
    assert snapshots.rounds == [0, 1, 1, 2]
    assert same(snapshots.states[1], snapshots.states[2])


def test_a_checkpoint_brings_rounds_faults_and_seed():
    wrapper, other, seeded = (make_wrapper(config()) for _ in range(3))
    fit(wrapper, [bad(), *batches(2)])
    checkpoint = {"state_dict": wrapper.state_dict()}
    wrapper.on_save_checkpoint(checkpoint)
    seeded.seed = 9  # a run that was given one keeps it
    for resumed in (other, seeded):
        resumed.on_load_checkpoint({**checkpoint, "state_dict": dict(checkpoint["state_dict"])})
        assert (resumed.rounds, resumed.faults.total) == (2, 1)
    assert (other.seed, seeded.seed) == (wrapper.seed, 9)


@pytest.mark.parametrize("limit", [0, -1, "3"])
def test_the_limit_must_be_a_number_of_batches(limit):
    with pytest.raises(UserError, match="max_bad_batches"):
        make_wrapper(changed(config(), "training.max_bad_batches", limit))
