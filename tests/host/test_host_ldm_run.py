"""Runs of latent diffusion models: 20 steps from audio and from latents, the run folder, going on, validation."""

from __future__ import annotations

import csv
import json
import math
import random
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import soundfile
import torch
from host_test_configs import RATE, AtStart, audio, changed, same, sgd, train_watched
from host_test_ldm import KINDS, autoencoder, ldm_config, write_latents
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.utils import load_ckpt_state_dict
from stable_audio_tools.training import diffusion
from torch.quasirandom import SobolEngine

import ear_sat
from ear_sat.cli import errors, train
from ear_sat.host.diffusion.noise import HostNoise

DATA = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": autoencoder().state_dict()}, tmp_path / "vae.ckpt")
    return tmp_path


def call(*flags):
    return errors.run(lambda: train.main(["--batch-size", "2", "--num-workers", "0", "--accelerator", "cpu", *flags]))


def begin(folder, config, *more, data=None):
    (folder / "tiny.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data or DATA), encoding="utf-8")
    inputs = ["--model-config", "tiny.json", "--dataset-config", "data.json", "--pretransform-ckpt-path", "vae.ckpt"]
    return call(*inputs, "--name", "run", *more)


def rows(run):
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def trained(checkpoint):
    """Names of the diffusion model's own tensors."""
    return [k for k in checkpoint["state_dict"] if k.startswith("diffusion.") and ".pretransform." not in k]


def source(folder, pre_encoded):
    if not pre_encoded:
        return DATA
    # A relative path, which must still lead somewhere while a demo is written.
    return write_latents(folder / "latents", audio(4), autoencoder()) | {"datasets": [{"id": "x", "path": "latents"}]}


@pytest.mark.parametrize("pre_encoded", [False, True])
@pytest.mark.parametrize(
    ("kind", "steps"), [("diffusion_cond", 20), ("diffusion_uncond", 4), ("diffusion_cond_inpaint", 4)]
)
def test_a_run_leaves_a_complete_folder(folder, capsys, kind, steps, pre_encoded):
    config = changed(ldm_config(kind, pre_encoded=pre_encoded), "training.demo.demo_every", steps // 2)
    assert begin(folder, config, "--max-steps", str(steps), data=source(folder, pre_encoded)) == 0
    run, out = folder / "runs" / "run", capsys.readouterr().out
    table = rows(run)
    assert [int(row["step"]) for row in table] == list(range(1, steps + 1))
    assert all(math.isfinite(float(row["train/loss"])) for row in table)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", f"step-{steps}.ckpt"}
    demos = sorted((run / "demos").iterdir())
    assert [int(path.stem[-8:]) for path in demos] == [1, 1 + steps // 2]
    for path in demos:
        clips, rate = soundfile.read(path)
        assert rate == RATE and clips.shape[1] == 2
    assert f"{steps} rounds" in out and "M frozen" in out
    left = {path.name for path in folder.iterdir()} - {"tiny.json", "data.json", "vae.ckpt", "latents", "runs"}
    assert not left, "the host writes its demos into the working directory"


@pytest.mark.parametrize("kind", KINDS)
def test_the_export_is_the_average_and_loads_strictly(folder, kind):
    assert begin(folder, ldm_config(kind), "--max-steps", "3") == 0
    run = folder / "runs" / "run"
    stored = load(run / "checkpoints" / "last.ckpt")["state_dict"]
    expected = {key.removeprefix("diffusion."): v for key, v in stored.items() if key.startswith("diffusion.")}
    prefix = "diffusion_ema.ema_model."
    average = {f"model.{key.removeprefix(prefix)}": v for key, v in stored.items() if key.startswith(prefix)}
    assert any(not torch.equal(average[key], expected[key]) for key in average)
    config = json.loads((run / "export" / "model_config.json").read_text(encoding="utf-8"))
    assert config == ldm_config(kind)
    for name in ("model.ckpt", "model.safetensors"):
        state = load_ckpt_state_dict(str(run / "export" / name))
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], (expected | average)[key]) for key in state)
        create_model_from_config(config).load_state_dict(state, strict=True)


def test_without_an_average_the_export_is_the_model(folder):
    assert begin(folder, ldm_config(use_ema=False), "--max-steps", "2") == 0
    run = folder / "runs" / "run"
    stored = load(run / "checkpoints" / "last.ckpt")["state_dict"]
    state = load_ckpt_state_dict(str(run / "export" / "model.safetensors"))
    assert all(torch.equal(value, stored[f"diffusion.{key}"]) for key, value in state.items())
    assert not any(key.startswith("diffusion_ema.") for key in stored)


def test_the_pretransform_can_be_taken_out_of_an_export(folder):
    assert begin(folder, ldm_config(), "--max-steps", "1") == 0
    run, expected = folder / "runs" / "run", autoencoder().state_dict()
    for file in ("export/model.safetensors", "checkpoints/last.ckpt"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the config of the diffusion model beside it says the rate
            alone = ear_sat.load_autoencoder(run / file)
        assert alone.sample_rate == ldm_config()["sample_rate"] != 44100
        assert all(torch.equal(value, expected[key]) for key, value in alone.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on(folder, kind):
    """Weights, average, optimizer and the axis; the pretransform comes with the checkpoint."""
    assert begin(folder, ldm_config(kind), "--max-steps", "4", "--checkpoint-every", "2") == 0
    run = folder / "runs" / "run"
    before = load(run / "checkpoints" / "last.ckpt")
    (folder / "vae.ckpt").unlink()
    start = AtStart()
    train_watched(start, resume=run, max_steps=6)
    assert same(start.state, before["state_dict"])
    assert same(start.optimizers, before["optimizer_states"])
    assert [int(row["step"]) for row in rows(run)] == [1, 2, 3, 4, 5, 6]
    assert load(run / "checkpoints" / "last.ckpt")["global_step"] == 6


def test_a_resumed_run_ends_where_an_undisturbed_one_does(folder):
    """The noise, the times and the encoder's draws included; with accumulated batches."""
    config = ldm_config("diffusion_cond")
    more = ("--accum-batches", "2", "--checkpoint-every", "100", "--save-top-k", "0")
    assert begin(folder, config, "--seed", "7", "--max-steps", "4", *more) == 0
    (folder / "runs" / "run").rename(folder / "whole")
    assert begin(folder, config, "--seed", "7", "--max-steps", "2", *more) == 0
    assert call("--resume", str(folder / "runs" / "run"), "--max-steps", "4", *more) == 0
    whole, parts = (load(run / "checkpoints" / "last.ckpt") for run in (folder / "whole", folder / "runs" / "run"))
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert same(whole[key], parts[key]), key


@pytest.mark.parametrize(
    ("change", "alike"),
    [({}, True), ({"global_rank": 1}, False), ({"global_step": 4}, False), ({"seed": 1}, False)],
)
def test_noise_is_another_on_every_rank_and_in_every_round(change, alike):
    def drawn(seed=0, **place):
        module, noise = SimpleNamespace(rng=SobolEngine(1, scramble=True)), HostNoise(seed)
        trainer = SimpleNamespace(**{"global_rank": 0, "global_step": 0, **place})
        noise.on_train_start(trainer, module)
        noise.on_train_batch_start(trainer, module)
        return [torch.randn(3).tolist(), random.random()], module.rng.draw(3).tolist()

    (noise, times), (other_noise, other_times) = drawn(), drawn(**change)
    assert [one == other for one, other in zip(noise, other_noise, strict=True)] == [alike] * 2
    assert (times == other_times) is not bool(change.keys() & {"global_rank", "seed"})  # a sequence of its own


def test_every_batch_of_a_round_has_noise_of_its_own():
    trainer, module, noise, drawn = SimpleNamespace(global_rank=0), SimpleNamespace(), HostNoise(3), []
    noise.on_train_start(trainer, module)
    for step in (0, 0, 1, 1):
        trainer.global_step = step
        noise.on_train_batch_start(trainer, module)
        drawn.append(random.random())
    assert len(set(drawn)) == 4


def test_a_resumed_run_goes_on_in_its_sequence_of_times():
    trainer = SimpleNamespace(global_rank=1, global_step=0)
    first, second = (SimpleNamespace(rng=SobolEngine(1, scramble=True)) for _ in range(2))
    noise, resumed = HostNoise(3), HostNoise()
    noise.on_train_start(trainer, first)
    first.rng.draw(5)
    resumed.load_state_dict(noise.state_dict())
    resumed.on_train_start(trainer, second)
    assert second.rng.draw(4).tolist() == first.rng.draw(4).tolist()


@pytest.mark.parametrize("pre_encoded", [False, True])
def test_lightning_splits_what_the_data_set_does_not(folder, pre_encoded):
    """Two GPUs would otherwise read the same latents in the same order."""
    configs = {"model_config": ldm_config(pre_encoded=pre_encoded), "dataset_config": source(folder, pre_encoded)}
    for name, config in configs.items():
        Path(f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    paths = {name: Path(f"{name}.json") for name in configs}
    start = AtStart()
    train_watched(start, **paths, pretransform_ckpt_path=Path("vae.ckpt"), max_steps=1)
    assert start.trainer._accelerator_connector.use_distributed_sampler is pre_encoded


def test_validation_lands_in_the_table(folder):
    assert begin(folder, ldm_config(), "--max-steps", "4", "--val-every", "2") == 0
    run = folder / "runs" / "run"
    values = [row for row in rows(run) if row["val/avg_loss"]]
    assert [int(row["step"]) for row in values] == [2, 4]
    for row in values:
        parts = [float(row[f"val/loss_{t:.1f}"]) for t in (0.1, 0.3, 0.5, 0.7, 0.9)]
        assert float(row["val/avg_loss"]) == pytest.approx(sum(parts) / 5, rel=1e-5)
    assert not (run / "checkpoints" / "best.ckpt").exists()  # its metric is the autoencoder's


def test_the_uncond_model_has_no_validation_and_goes_on(folder):
    assert begin(folder, ldm_config("diffusion_uncond"), "--max-steps", "2", "--val-every", "1") == 0
    assert [int(row["step"]) for row in rows(folder / "runs" / "run")] == [1, 2]


def test_a_round_accumulates_is_clipped_and_is_what_validation_counts(folder):
    """A step of SGD at rate 1 is the clipped gradient."""
    limit, more = 1e-3, ["--accum-batches", "2", "--gradient-clip-val", "1e-3", "--val-every", "2"]
    config = changed(ldm_config(), "training.optimizer_configs.diffusion", sgd())
    assert begin(folder, config, "--max-steps", "4", "--checkpoint-every", "3", *more) == 0
    run = folder / "runs" / "run"
    assert [int(row["step"]) for row in rows(run) if row["val/avg_loss"]] == [2, 4]
    before, after = (load(run / "checkpoints" / f"step-{n}.ckpt") for n in (3, 4))
    assert after["global_step"] == 4
    weights = [(before["state_dict"][key], after["state_dict"][key]) for key in trained(after)]
    moved = torch.stack([(one - other).norm() for one, other in weights]).norm().item()
    assert moved == pytest.approx(limit, rel=1e-2)
    (order,) = (value for value in after["callbacks"].values() if "used" in value)
    assert order["epoch"] * order["items"] + order["used"] == 4 * 2 * 2  # rounds × batches × clips


def test_a_demo_that_cannot_be_written_costs_the_demo_not_the_run(folder, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with mock.patch.object(diffusion.torchaudio, "save", full):
        assert begin(folder, ldm_config(), "--max-steps", "2") == 0
    assert "demo of step 1 not written" in caplog.text
    assert (folder / "runs" / "run" / "export" / "model.ckpt").is_file()


def test_a_failing_demo_costs_the_demo_and_the_working_directory_comes_back(folder, caplog):
    with mock.patch.object(diffusion.torchaudio, "save", side_effect=ZeroDivisionError("by nothing")):
        assert begin(folder, ldm_config(), "--max-steps", "2") == 0
    assert "demo of step 1 not written: by nothing" in caplog.text
    assert folder.samefile(".")


@pytest.mark.parametrize("key", ["num_demos", "demo_every", "demo_steps"])
def test_a_number_of_the_demos_that_is_none_is_one_line(folder, capsys, key):
    assert begin(folder, changed(ldm_config(), f"training.demo.{key}", "false")) == 1
    assert f"training.demo.{key} must be a whole number of at least 1, not 'false'" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_a_demo_section_without_what_the_host_needs_is_one_line(folder, capsys):
    config = ldm_config()
    del config["training"]["demo"]["num_demos"]
    assert begin(folder, config) == 1
    assert 'it lacks the key "num_demos"' in capsys.readouterr().err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("scale", ["SCALE", True, 0, -1.0])
def test_a_scale_that_nothing_can_be_divided_by_is_one_line(folder, capsys, scale):
    config = changed(ldm_config(), "model.pretransform.scale", scale)
    assert begin(folder, config, "--max-steps", "1") == 1
    assert (
        f"model.pretransform.scale, which latent-stats prints, must be a number above 0, not {scale!r}"
        in capsys.readouterr().err
    )
    assert not (folder / "runs").exists()
