"""Fine-tuning: a run starts from weights exactly, strictly, and says what its discriminator starts from."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch
from host_test_configs import RATE, adamw, audio, batches, changed, fit, make_wrapper, model_config
from safetensors.torch import save_file

import ear_sat
from ear_sat.cli import errors, train
from ear_sat.host.jobs import HostBuilders
from ear_sat.json_file import load_json
from ear_sat.models import Autoencoder
from ear_sat.training.run.options import TrainOptions
from ear_sat.weights import read_checkpoint, write_weights

DATA = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}


def finetune_config(freeze_encoder=False):
    config = model_config()
    config["training"].update(
        use_ema=True,
        phases=[
            {"name": "discriminator", "steps": 2, "losses": ["discriminator"], "generator": False},
            {"name": "fine-tune", "steps": 30, "losses": "all"},
        ],
    )
    if freeze_encoder:
        config["model"]["encoder"]["requires_grad"] = False
    return config


def randomised(config, seed=5):
    """A model whose activations and transformer all differ from their start."""
    torch.manual_seed(seed)
    model = Autoencoder.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture
def released(tmp_path):
    """A tiny file in the layout of the released ones."""
    path = tmp_path / "tiny.pyt"
    write_weights(randomised(model_config()).state_dict(), path)
    return path


def load(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ear_sat.load_autoencoder(path, sample_rate=RATE)


def start(path, config=None, **options):
    return HostBuilders().job(config or finetune_config(), TrainOptions(pretrained_ckpt_path=path, **options)).wrapper


def run(folder, config, *more):
    (folder / "model.json").write_text(json.dumps(config))
    (folder / "data.json").write_text(json.dumps(DATA))
    flags = ["--model-config", folder / "model.json", "--dataset-config", folder / "data.json", "--name", "run"]
    flags += ["--save-dir", folder / "runs", "--batch-size", "2", "--num-workers", "0", "--accelerator", "cpu", *more]
    return errors.run(lambda: train.main([str(flag) for flag in flags]))


@pytest.mark.parametrize("kind", ["pyt", "ckpt", "safetensors", "training"])
def test_step_zero_is_the_file(kind, released, tmp_path):
    path = tmp_path / f"weights.{kind}"
    if kind == "training":
        state = {f"autoencoder_ema.ema_model.{k}": v for k, v in read_checkpoint(released).state.items()}
        torch.save({"state_dict": state, "epoch": 0, "global_step": 7}, path.with_suffix(".ckpt"))
        path = path.with_suffix(".ckpt")
    else:
        write_weights(read_checkpoint(released).state, path)
    wrapper, plain, clip = start(path), load(released), audio()
    for model in (wrapper.autoencoder.eval(), wrapper.exported_autoencoder.eval()):
        with torch.no_grad():
            latents = model.encode(clip)
            assert torch.equal(latents, plain.encode(clip))
            assert torch.equal(model.decode(latents), plain.decode(latents))


def test_fresh_discriminator_first_then_the_loss_falls(released):
    config = changed(finetune_config(), "training.optimizer_configs.autoencoder", adamw(3e-3))
    wrapper = start(released, config)
    clips = batches(1) * 32
    before = copy.deepcopy(wrapper.autoencoder.state_dict())

    def loss():
        with torch.no_grad():
            return wrapper.bundle(wrapper.eval()(clips[0][0]), clips[0][0]).total.item()

    first = loss()
    fit(wrapper, clips[:2])
    assert all(torch.equal(before[key], value) for key, value in wrapper.autoencoder.state_dict().items())
    fit(wrapper, clips[2:])
    assert loss() < 0.9 * first


def test_decoder_only_keeps_the_latents(released):
    config = finetune_config(freeze_encoder=True)
    config["training"]["optimizer_configs"] = {name: adamw(1e-2) for name in ("autoencoder", "discriminator")}
    wrapper, clip = start(released, config), audio()
    with torch.no_grad():
        latents = wrapper.autoencoder.eval().encode(clip)
        audio_before = wrapper.autoencoder.decode(latents)
    fit(wrapper, batches(6))
    with torch.no_grad():
        for model in (wrapper.autoencoder.eval(), wrapper.exported_autoencoder.eval()):
            assert torch.equal(model.encode(clip), latents)
        assert not torch.equal(wrapper.autoencoder.decode(latents), audio_before)


def test_shared_activations_stay_shared(released, tmp_path):
    wrapper = start(released)
    fit(wrapper, batches(4))
    wrapper.export_model(str(tmp_path / "out.safetensors"), use_safetensors=True)
    state = read_checkpoint(tmp_path / "out.safetensors").state
    pairs = [(k, k.replace("layers.0.alpha", "layers.2.alpha")) for k in state if k.endswith(".layers.0.alpha")]
    pairs = [(one, other) for one, other in pairs if other in state and one != other]
    start_state = read_checkpoint(released).state
    assert pairs
    for one, other in pairs:
        assert torch.equal(state[one], state[other])
        assert not torch.equal(state[one], start_state[one])


def test_wrong_file_stops_before_the_first_step(released, tmp_path, capsys):
    config = finetune_config()
    for part in ("encoder", "decoder"):
        config["model"][part]["config"]["channels"] = 8
    assert run(tmp_path, config, "--pretrained-ckpt-path", released) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert "of another shape (decoder.layers" in message
    assert "in the file" in message and "in the model" in message
    assert not (tmp_path / "runs" / "run").exists()


def test_partial_loading_prints_the_coverage(released, tmp_path, capsys):
    config = finetune_config()
    del config["model"]["decoder"]["config"]["transformer"]
    assert run(tmp_path, config, "--pretrained-ckpt-path", released, "--max-steps", "1") == 1
    assert "unexpected (decoder.transformers" in capsys.readouterr().err
    code = run(tmp_path, config, "--pretrained-ckpt-path", released, "--max-steps", "1", "--allow-partial")
    out = capsys.readouterr().out
    assert code == 0
    assert "encoder.layers.1" in out and "100.0 %" in out


def test_nothing_that_fits_is_an_error(tmp_path, released, capsys):
    save_file({"encoder.other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ear_sat.UserError, match="nothing in"):
        start(tmp_path / "other.safetensors", allow_partial=True)


def test_discriminator_is_reused_on_request(released, tmp_path, caplog):
    trained = make_wrapper(finetune_config(), seed=3)
    state = {key: value for key, value in trained.state_dict().items() if not key.startswith("bundle.")}
    torch.save({"state_dict": state}, tmp_path / "trained.ckpt")
    again = start(tmp_path / "trained.ckpt", reuse_discriminator=True)
    for key, value in trained.discriminator.state_dict().items():
        assert torch.equal(again.discriminator.state_dict()[key], value)
    assert "continues with the weights" in caplog.text
    start(tmp_path / "trained.ckpt")
    assert "starts from random weights" in caplog.text
    with pytest.raises(ear_sat.UserError, match="holds no discriminator"):
        start(released, reuse_discriminator=True)


def test_flags_that_need_a_file(tmp_path, capsys):
    assert run(tmp_path, finetune_config(), "--allow-partial") == 1
    assert "--allow-partial goes with --pretrained-ckpt-path" in capsys.readouterr().err


def test_run_says_what_it_starts_from_and_exports_what_loads(released, tmp_path, capsys):
    assert run(tmp_path, finetune_config(), "--pretrained-ckpt-path", released, "--max-steps", "3") == 0
    assert f"the weights in {released}" in capsys.readouterr().out.replace("\n", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the export says everything about its model
        exported = ear_sat.load_autoencoder(tmp_path / "runs" / "run" / "export")
        from_run = ear_sat.load_autoencoder(tmp_path / "runs" / "run")
    assert exported.sample_rate == RATE
    for key, value in from_run.state_dict().items():
        assert torch.equal(exported.state_dict()[key], value)


@pytest.mark.parametrize("name", ["ear_vae_finetune", "ear_vae_finetune_decoder"])
def test_released_configs_take_the_released_architecture(name):
    from pathlib import Path

    config = load_json(Path(__file__).parents[2] / "model_configs" / f"{name}.json")
    base = load_json(Path(__file__).parents[2] / "model_configs" / "ear_vae.json")
    frozen = name.endswith("decoder")
    assert config["model"]["encoder"].pop("requires_grad", True) is not frozen
    assert config["model"] == base["model"]
    phases = config["training"]["phases"]
    assert phases[0]["generator"] is False
    assert all("lr" not in phase and "lr_milestones" not in phase for phase in phases)  # a constant rate


def test_an_ini_file_turns_switches_on_and_off(tmp_path, released, capsys):
    """``--config-file`` may hold any flag, those without a value too."""
    ini = tmp_path / "flags.ini"
    ini.write_text("[DEFAULTS]\nallow_partial = true\nreuse_discriminator = off\ncompile = 'no'\nrecover = true\n")
    assert run(tmp_path, finetune_config(), "--config-file", ini) == 1
    assert "--allow-partial goes with --pretrained-ckpt-path" in capsys.readouterr().err
    ini.write_text("[DEFAULTS]\nallow_partial = maybe\n")
    assert run(tmp_path, finetune_config(), "--config-file", ini) == 1
    assert "allow-partial in" in (line := capsys.readouterr().err) and "must be true or false, not 'maybe'" in line
