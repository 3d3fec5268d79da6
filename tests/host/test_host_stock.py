"""The host's own models keep working with our package registered, and better where the host is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from host_test_configs import Recorder, Snapshots, audio, fit, make_wrapper, model_config
from stable_audio_tools.data.dataset import create_dataloader_from_config
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.utils import load_ckpt_state_dict
from stable_audio_tools.training import create_demo_callback_from_config
from stable_audio_tools.training.autoencoders import AutoencoderTrainingWrapper

from ear_sat.cli import train
from ear_sat.host.register import ORIGINAL

STOCK = Path(__file__).parents[1] / "data" / "host_stock_vae.json"


@pytest.fixture
def stock():
    """The host's 44.1 kHz VAE with its stock training values, a few channels wide."""
    return json.loads(STOCK.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    for i, clip in enumerate(audio(2, size=12000)):
        soundfile.write(tmp_path / f"{i}.wav", clip.T.numpy(), 44100)
    return {"dataset_type": "audio_dir", "datasets": [{"id": "x", "path": str(tmp_path)}], "random_crop": True}


def test_the_stock_model_trains_with_its_scheduler_and_no_workers(stock, folder):
    wrapper, snapshots = make_wrapper(stock), Snapshots()
    assert isinstance(wrapper, getattr(AutoencoderTrainingWrapper, ORIGINAL))
    loader = create_dataloader_from_config(folder, 1, stock["sample_size"], stock["sample_rate"], num_workers=0)
    fit(wrapper, loader, snapshots)
    assert snapshots.differs(0, 1, "autoencoder.encoder.") and snapshots.differs(1, 2, "discriminator.")
    # InverseLR: lr · (1 − warmup^(n+1)) · (1 + n/γ)^−½
    expected = [1.5e-4 * (1 - 0.999 ** (n + 1)) * (1 + n / 200000) ** -0.5 for n in (0, 1)]
    assert [snapshots.rates[0][0], snapshots.rates[1][0]] == pytest.approx(expected)


def test_the_stock_model_logs_every_number_on_a_cpu(stock):
    """0.0.20 sums statistics on CUDA every ten steps, averages over ten and loses the rest of a short run."""
    log = Recorder()
    stock["training"]["eval_loss_configs"] = {"stft": {}}
    clip = audio(1, size=stock["sample_size"])
    fit(make_wrapper(stock), [(clip, ({},))] * 2, val=[(clip, ({},))], logger=log, log_every_n_steps=1)
    keys = {key for _, row in log.rows for key in row}
    assert {"train/mrstft_loss", "train/discriminator_loss", "val/stft"} <= keys


@pytest.mark.parametrize("workers", [0, "positional"])
def test_no_workers_for_every_way_of_calling(folder, workers):
    if workers == "positional":
        loader = create_dataloader_from_config(folder, 1, 2048, 44100, 2, 0)
    else:
        loader = create_dataloader_from_config(folder, 1, 2048, 44100, num_workers=0)
    assert next(iter(loader))[0].shape == (1, 2, 2048)
    assert (loader.num_workers, loader.persistent_workers) == (0, False)


def test_workers_persist_as_in_the_host(folder):
    loader = create_dataloader_from_config(folder, 1, 2048, 44100, num_workers=1)
    assert (loader.num_workers, loader.persistent_workers) == (1, True)
    assert torch.utils.data.DataLoader.__module__ == "torch.utils.data.dataloader"


def test_our_data_sets_take_all_arguments_of_the_hosts_function(tmp_path):
    """``tokenizers`` and ``pad`` are 0.0.20's: its training and its pre-encoding script give them."""
    for i, clip in enumerate(audio(2, size=1000)):
        soundfile.write(tmp_path / f"{i}.wav", clip.T.numpy(), 8000)
    config = {"dataset_type": "ear_audio", "datasets": [{"id": "x", "path": str(tmp_path)}]}
    sizes = {"sample_size": 2048, "sample_rate": 8000, "num_workers": 0}
    padded = create_dataloader_from_config(config, 1, tokenizers=None, **sizes)
    assert next(iter(padded))[0].shape == (1, 2, 2048)
    natural, infos = next(iter(create_dataloader_from_config(config, 1, tokenizers={}, pad=False, **sizes)))
    assert natural.shape == (1, 2, 1000) and infos[0]["padding_mask"].shape == (1000,)


def test_our_data_sets_come_through_the_hosts_function():
    config = {"dataset_type": "ear_demo", "tracks": 1, "seconds": 1.0}
    loader = create_dataloader_from_config(config, 2, 2048, 8000, audio_channels=1, num_workers=0)
    assert next(iter(loader))[0].shape == (2, 1, 2048)


def test_demo_callbacks_are_the_hosts_for_the_hosts_models(stock, folder):
    loader = create_dataloader_from_config(folder, 1, 2048, 44100, num_workers=0)
    theirs = create_demo_callback_from_config(stock, demo_dl=loader)
    ours = create_demo_callback_from_config(model_config(), demo_dl=loader)
    assert (type(theirs).__name__, type(ours).__name__) == ("AutoencoderDemoCallback", "EarDemoCallback")


@pytest.mark.slow
def test_the_stock_model_trains_by_our_script(stock, tmp_path, monkeypatch):
    """With the host's own demo in the run's folder, which 0.0.20 deletes and 0.0.19 writes where it is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stock.json").write_text(json.dumps(stock), encoding="utf-8")
    data = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}
    (tmp_path / "data.json").write_text(json.dumps(data), encoding="utf-8")
    flags = ["--model-config", "stock.json", "--dataset-config", "data.json", "--accelerator", "cpu", "--name", "run"]
    train.main([*flags, "--batch-size", "1", "--num-workers", "0", "--max-steps", "2"])
    run = tmp_path / "runs" / "run"
    assert len(list((run / "demos").glob("*.wav"))) == 1 and not list(tmp_path.glob("*.wav"))
    model = create_model_from_config(stock)
    model.load_state_dict(load_ckpt_state_dict(str(run / "export" / "model.safetensors")))
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert "train/mrstft_loss" in header and [row.split(",")[0] for row in rows] == ["0", "1", "2"]


@pytest.mark.slow
def test_measuring_the_held_out_clip_changes_nothing_in_a_stock_training(stock, tmp_path, monkeypatch):
    """Although its bottleneck draws in eval mode, too. The encoder takes the mean of both channels."""
    monkeypatch.chdir(tmp_path)
    stock["model"]["encoder"]["config"]["in_channels"] = 1
    stock["model"]["in_channels"], stock["training"]["force_input_mono"] = 1, True
    (tmp_path / "stock.json").write_text(json.dumps(stock), encoding="utf-8")
    data = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}
    (tmp_path / "data.json").write_text(json.dumps(data), encoding="utf-8")
    flags = ["--model-config", "stock.json", "--dataset-config", "data.json", "--accelerator", "cpu", "--seed", "3"]
    exports = []
    for every in ("1", "0"):
        common = ["--batch-size", "1", "--num-workers", "0", "--max-steps", "3", "--held-out-every", every]
        train.main([*flags, *common, "--name", every])
        exports.append(load_ckpt_state_dict(str(tmp_path / "runs" / every / "export" / "model.safetensors")))
    often, never = exports
    assert often.keys() == never.keys() and all(torch.equal(often[key], never[key]) for key in often)
    table = (tmp_path / "runs" / "1" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert "held_out/si_sdr_db" in table[0] and len([row for row in table if row.startswith("3,")]) == 2


def diffusion_config():
    """An unconditional diffusion model over the latents of our autoencoder."""
    autoencoder = model_config(sample="training")
    return {
        "model_type": "diffusion_uncond",
        "sample_size": 4096,
        "sample_rate": 8000,
        "audio_channels": 2,
        "model": {
            "type": "dit",
            "pretransform": {"type": "autoencoder", "config": autoencoder["model"]},
            "config": {"in_channels": 32, "embed_dim": 64, "depth": 1, "num_heads": 1},
        },
        "training": {"learning_rate": 1e-4, "demo": {"demo_every": 1000, "demo_steps": 2}},
    }


def test_a_pretransform_stays_in_eval_mode():
    """The host's uncond wrapper would leave it in train mode, where our bottleneck draws noise."""
    wrapper = make_wrapper(diffusion_config())
    pretransform = wrapper.diffusion.pretransform
    wrapper.train()
    assert wrapper.diffusion.model.training
    assert not any(module.training for module in pretransform.modules())
    clip = audio(1)
    assert torch.equal(pretransform.encode(clip), pretransform.encode(clip))


def test_a_pretransform_stays_in_eval_mode_while_lightning_trains():
    wrapper, other, modes = make_wrapper(diffusion_config()), make_wrapper(diffusion_config()), []
    wrapper.diffusion.load_state_dict(other.diffusion.state_dict())
    wrapper.diffusion.pretransform.model.encoder.register_forward_hook(lambda m, *_: modes.append(m.training))
    fit(wrapper, [(audio(1), [{}])])
    assert modes == [False]
