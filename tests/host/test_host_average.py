"""Whatever shows how far a run is, and what it leaves, is the moving average: validation, demos, table, export."""

from __future__ import annotations

import pytest
import soundfile
import torch
from host_test_configs import RATE, Recorder, audio, batches, changed, fit, make_wrapper, model_config, same

from ear_sat.training.run.demo import EarDemoCallback
from ear_sat.training.run.held_out import HeldOut, HeldOutClip
from ear_sat.weights import read_checkpoint

TARGET = audio(1, seed=5)


@pytest.fixture(scope="module")
def run():
    """A wrapper after five rounds, its trainer and its log; the average is far from the weights."""
    config = changed(changed(model_config(), "training.use_ema", True), "training.ema", {"beta": 0.5, "power": 100.0})
    wrapper, log = make_wrapper(changed(config, "training.eval_loss_configs", {"snr_db": {}})), Recorder()
    trainer = fit(wrapper, batches(5), val=[(TARGET, ({},))], logger=log)
    return wrapper, trainer, log


@torch.no_grad()
def decoded(model):
    training = model.training
    output = model.eval().decode(model.encode(TARGET))
    model.train(training)
    return output


@pytest.fixture(scope="module")
def average(run):
    """The average's reconstruction of the target, which that of the weights is not."""
    wrapper, *_ = run
    average, online = decoded(wrapper.autoencoder_ema.ema_model), decoded(wrapper.autoencoder)
    assert (average - online).norm() > 1e-2 * average.norm()
    return average


def test_it_begins_where_the_model_does():
    wrapper = make_wrapper(changed(model_config(), "training.use_ema", True))
    assert same(dict(wrapper.autoencoder_ema.ema_model.state_dict()), dict(wrapper.autoencoder.state_dict()))


def test_validation(run, average):
    error = average - TARGET
    snr = 10 * torch.log10(TARGET.square().sum() / error.square().sum())
    assert run[2].series("val/snr_db")[-1] == pytest.approx(snr.item(), abs=1e-4)


def test_demos(run, average, tmp_path):
    wrapper, trainer, _ = run
    demo = EarDemoCallback([(TARGET, ())], RATE, folder=tmp_path)
    demo.on_train_batch_start(trainer, wrapper, (TARGET, ()), 0)
    demo.write(trainer, wrapper)
    clip, _ = soundfile.read(tmp_path / "step-5" / "clip-0.estimate.wav", dtype="float32", always_2d=True)
    torch.testing.assert_close(torch.from_numpy(clip.T), average[0], rtol=0, atol=1e-4)


def test_held_out_table(run, average):
    wrapper, trainer, _ = run
    clip = HeldOutClip(TARGET[0], RATE, wrapper.bundle)
    table = HeldOut(clip)
    table.on_train_start(trainer, wrapper)
    expected = ["round 5", *clip.measure(average[0])]
    # One row, because nothing was trained since the start.
    assert table.rows(trainer, wrapper, table.reconstruct(wrapper)) == [pytest.approx(expected)]


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_export(run, average, name, tmp_path):
    wrapper, *_ = run
    wrapper.export_model(str(tmp_path / name), use_safetensors=name.endswith("safetensors"))
    stored = read_checkpoint(tmp_path / name)
    assert same(stored.state, dict(wrapper.autoencoder_ema.ema_model.state_dict()))
    assert not same(stored.state, dict(wrapper.autoencoder.state_dict()))
    assert stored.rounds == 5


def test_all_leave_training_mode_as_it_was(run):
    wrapper, *_ = run
    HeldOut(HeldOutClip(TARGET[0], RATE, wrapper.bundle)).reconstruct(wrapper)
    assert wrapper.autoencoder.training and wrapper.autoencoder_ema.ema_model.training
