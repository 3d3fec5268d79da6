"""A pretransform whose weights were not loaded is an error in every way in; every file of weights opens every way."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from host_test_configs import fit
from host_test_ldm import KINDS, autoencoder, ldm_config, make_ldm, raw_batches, write_latents
from safetensors.torch import save_model
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.utils import copy_state_dict
from stable_audio_tools.training import create_training_wrapper_from_config

from ear_sat import UserError
from ear_sat.cli import errors, train
from ear_sat.host.diffusion.pretransform_weights import check_pretransform_weights

DATA = {"dataset_type": "ear_demo", "tracks": 1, "seconds": 2.0, "crops_per_track": 2}


@pytest.fixture(autouse=True)
def fresh_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def call(*more, config=None, data=None):
    """``scripts/train.py`` for one step in the working directory; returns its exit code."""
    for name, content in (("tiny.json", config or ldm_config()), ("data.json", data or DATA)):
        Path(name).write_text(json.dumps(content), encoding="utf-8")
    flags = ["--model-config", "tiny.json", "--dataset-config", "data.json", "--name", "run", "--accelerator", "cpu"]
    flags += ["--batch-size", "1", "--num-workers", "0", "--max-steps", "1", *map(str, more)]
    return errors.run(lambda: train.main(flags))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pre_encoded", [False, True])
def test_the_script_asks_for_the_weights_before_it_makes_a_folder(kind, pre_encoded, tmp_path, capsys):
    data = write_latents(tmp_path / "latents", raw_batches(1)[0][0], autoencoder()) if pre_encoded else DATA
    assert call(config=ldm_config(kind, pre_encoded=pre_encoded), data=data) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("error: the weights of the pretransform were not loaded")
    assert "--pretransform-ckpt-path" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_hosts_own_way_stops_before_the_first_step(kind):
    config = ldm_config(kind)
    wrapper = create_training_wrapper_from_config(config, create_model_from_config(config))
    steps = []
    wrapper.diffusion.model.register_forward_pre_hook(lambda *_: steps.append(1))
    with pytest.raises(UserError, match="weights of the pretransform were not loaded"):
        fit(wrapper, raw_batches(1))
    assert not steps


def model(seed=0, config=None):
    torch.manual_seed(seed)
    return create_model_from_config(config or ldm_config())


def ways(filled):
    """How a model's pretransform can be filled from the tensors of another one."""
    state, own = filled.state_dict(), filled.pretransform.model.state_dict()
    some = {key: value for key, value in own.items() if not key.startswith("decoder.layers.2")}
    network = {key: value for key, value in state.items() if key.startswith("model.")}
    return {
        "pretransform": lambda m: m.pretransform.load_state_dict(own),
        "autoencoder": lambda m: m.pretransform.model.load_state_dict(own),
        "assigned": lambda m: m.pretransform.model.load_state_dict(own, assign=True),
        "whole model": lambda m: m.load_state_dict(state),
        "copied": lambda m: copy_state_dict(m, dict(state)),
        "by another module": lambda m: torch.nn.ModuleDict({"m": m}).load_state_dict(
            {f"m.{k}": state[k] for k in state}
        ),
        "nothing": lambda m: None,
        "some": lambda m: m.pretransform.load_state_dict(some, strict=False),
        "some, copied": lambda m: copy_state_dict(m.pretransform.model, dict(some)),
        "network only, copied": lambda m: copy_state_dict(m, dict(network)),
        "network only": lambda m: m.load_state_dict(network, strict=False),
        "itself": lambda m: m.load_state_dict(m.state_dict()),
    }


FULL = ("pretransform", "autoencoder", "assigned", "whole model", "copied", "by another module")


@pytest.mark.parametrize("way", ways(model()))
def test_only_a_full_load_counts(way):
    filled, empty = model(seed=1), model(seed=2)
    ways(filled)[way](empty)
    copied = copy.deepcopy(empty)
    for one in (empty, copied):
        if way in FULL:
            check_pretransform_weights(one)
            assert torch.equal(
                one.pretransform.model.encoder.state_dict()["layers.0.bias"],
                filled.pretransform.model.encoder.state_dict()["layers.0.bias"],
            )
        else:
            with pytest.raises(UserError, match="not loaded"):
                check_pretransform_weights(one)


def test_the_same_weights_as_the_random_ones_count():
    one, same = model(seed=1), model(seed=1)
    one.pretransform.load_state_dict(same.pretransform.model.state_dict())
    check_pretransform_weights(one)


def test_other_pretransforms_and_none_pass():
    config = ldm_config()
    config["model"]["pretransform"] = {"type": "patched", "config": {"channels": 2, "patch_size": 16}}
    check_pretransform_weights(model(config=config))
    del config["model"]["pretransform"]
    check_pretransform_weights(model(config=config))
    check_pretransform_weights(torch.nn.Linear(1, 1))


def files(folder, weights):
    """Every form in which a user may have an autoencoder."""
    state = weights.state_dict()
    release = {key.removeprefix("decoder.") if ".transformers." in key else key: v for key, v in state.items()}
    other = autoencoder(seed=9).state_dict()
    training = {f"autoencoder.{key}": v for key, v in other.items()}
    training |= {f"autoencoder_ema.ema_model.{key}": v for key, v in state.items()}
    torch.save(release, folder / "release.pyt")
    torch.save({"state_dict": state}, folder / "host.ckpt")
    torch.save({"state_dict": training, "global_step": 3}, folder / "lightning.ckpt")
    save_model(weights, str(folder / "weights.safetensors"))
    return ("release.pyt", "host.ckpt", "lightning.ckpt", "weights.safetensors")


@pytest.mark.parametrize("which", range(4))
def test_every_file_of_weights_trains(which, tmp_path):
    weights = autoencoder()
    name = files(tmp_path, weights)[which]
    assert call("--pretransform-ckpt-path", name) == 0
    stored = torch.load("runs/run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for key, value in weights.state_dict().items():
        assert torch.equal(stored[f"diffusion.pretransform.model.{key}"], value)


def test_folded_weight_norm_counts_as_loaded(tmp_path):
    files(tmp_path, autoencoder())
    assert call("--pretransform-ckpt-path", "host.ckpt", "--remove-pretransform-weight-norm", "post_load") == 0


def test_a_whole_model_to_start_from_brings_the_weights(tmp_path):
    wrapper = make_ldm(ldm_config())
    torch.save({"state_dict": wrapper.diffusion.state_dict()}, "ldm.ckpt")
    assert call("--pretrained-ckpt-path", "ldm.ckpt") == 0


def test_a_model_without_its_pretransform_does_not(tmp_path, capsys):
    network = {
        key: value for key, value in make_ldm(ldm_config()).diffusion.state_dict().items() if key[:6] == "model."
    }
    torch.save({"state_dict": network}, "network.ckpt")
    assert call("--pretrained-ckpt-path", "network.ckpt", "--allow-partial") == 1
    assert "weights of the pretransform were not loaded" in capsys.readouterr().err
    torch.save({"state_dict": autoencoder().state_dict()}, "vae.ckpt")
    more = ["--pretransform-ckpt-path", "vae.ckpt"]
    assert call("--pretrained-ckpt-path", "network.ckpt", "--allow-partial", *more) == 0


def test_weights_of_another_shape_are_an_error(tmp_path, capsys):
    state = autoencoder().state_dict()
    state["encoder.layers.0.bias"] = torch.zeros(99)
    torch.save({"state_dict": state}, "vae.ckpt")
    assert call("--pretransform-ckpt-path", "vae.ckpt") == 1
    assert "vae.ckpt does not fit the pretransform" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_continued_run_brings_the_weights(tmp_path):
    torch.save({"state_dict": autoencoder().state_dict()}, "vae.ckpt")
    assert call("--pretransform-ckpt-path", "vae.ckpt") == 0
    more = ["--num-workers", "0", "--batch-size", "1", "--accelerator", "cpu", "--max-steps", "2"]
    assert errors.run(lambda: train.main(["--resume", "runs/run", *more])) == 0
    assert call("--ckpt-path", "runs/run/checkpoints/last.ckpt", "--name", "other", "--max-steps", "3") == 0
    stored = torch.load("runs/other/checkpoints/last.ckpt", weights_only=True)
    assert stored["global_step"] == 3
    for key, value in autoencoder().state_dict().items():
        assert torch.equal(stored["state_dict"][f"diffusion.pretransform.model.{key}"], value)


def test_a_diffusion_model_to_start_from_must_be_one(tmp_path, capsys):
    """Its pretransform's weights have a flag of their own; NaN is found; there is no discriminator to continue."""
    torch.save({"state_dict": autoencoder().state_dict()}, "vae.ckpt")
    weights = ("--pretransform-ckpt-path", "vae.ckpt")
    assert call("--pretrained-ckpt-path", "vae.ckpt") == 1
    assert "weights of its pretransform go to --pretransform-ckpt-path" in capsys.readouterr().err

    state = create_model_from_config(ldm_config()).state_dict()
    torch.save({"state_dict": state}, "ldm.ckpt")
    assert call("--pretrained-ckpt-path", "ldm.ckpt", "--reuse-discriminator", *weights) == 1
    assert "no discriminator that could be continued; drop --reuse-discriminator" in capsys.readouterr().err

    key = next(key for key in state if key.startswith("model.") and state[key].is_floating_point())
    torch.save({"state_dict": {**state, key: torch.full_like(state[key], float("nan"))}}, "ldm.ckpt")
    assert call("--pretrained-ckpt-path", "ldm.ckpt", *weights) == 1
    assert "hold NaN or infinite values" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
