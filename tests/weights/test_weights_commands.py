"""inspect, export and config --model-from: what they say about a file, and what they make of a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from weights_test_models import FORMATS, cloned, config_of, golden_state, outputs, tiny, write_as

import ear_sat
from ear_sat.weights import RELEASES, Release, config_metadata, read_checkpoint, sha256, write_weights
from ear_sat.weights.inspection import inspect

CONFIG = config_of(latent=64, transformer={"depth": 1, "dim_heads": 64}, sample_rate=22050)


def a_model(seed: int = 0) -> Any:
    return tiny(seed, latent=64, transformer={"depth": 1, "dim_heads": 64})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three checkpoints of three models."""
    folder = write_as("run", a_model(0).state_dict(), tmp_path, CONFIG)
    for seed, name in ((1, "step-90"), (2, "step-1000"), (3, "best")):
        other = write_as("training_ema", a_model(seed).state_dict(), tmp_path, CONFIG)
        other.rename(folder / "checkpoints" / f"{name}.ckpt")
    return folder


# -- inspect ----------------------------------------------------------------------------------------------------------


def test_inspect_table(run: Path, command: Callable[..., Any]) -> None:
    result = command("inspect", run)
    assert result.code == 0 and result.err == ""
    rows = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in result.out.splitlines()]
    lines = {row[0]: row[1] for row in rows if len(row) == 2}
    path = run / "checkpoints" / "last.ckpt"
    for name, words in {
        "file": str(path),
        "kind": "training checkpoint",
        "checksum": f"{sha256(path)}, of no published file",
        "training rounds": "7",
        "parameters": f"{sum(p.numel() for p in a_model().parameters()):,}",
        "discriminator": "15 parameters",
        "audio": "channels: 2 in, 2 out; 22050 Hz",
        "latents": "64 channels at 2756.25 Hz, one frame per 8 samples",
        "encoder": "channels 4 × [1, 2], strides [2, 4], SnakeBeta",
        "decoder": "channels 4 × [1, 2], strides [2, 4], SnakeBeta",
        "transformer": "depth 1, dim_heads 64",
        "assumed": "nothing",
    }.items():
        assert lines[name] == words, name


@pytest.mark.parametrize("form", FORMATS)
def test_inspect_everything(form: str, tmp_path: Path, command: Callable[..., Any]) -> None:
    path = write_as(
        form, golden_state("tiny_no_transformer"), tmp_path, config_of([3, 5], [1, 2], channels=8, latent=8)
    )
    result = command("inspect", path, "--json")
    found = json.loads(result.out)
    assert result.code == 0 and result.err == ""
    state = {k: v for k, v in golden_state("tiny_no_transformer").items() if not (".2.alpha" in k or ".2.beta" in k)}
    assert found["parameters"] == sum(value.numel() for value in state.values())
    assert found["model_config"]["model"]["encoder"]["config"]["strides"] == [3, 5]
    assert found["latent_rate"] == pytest.approx(44100 / 15)


def test_inspect_json(tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(encoder={"use_snake": False, "bias": False}, decoder={"use_nearest_upsample": True})
    path = write_as("release", model.state_dict(), tmp_path)
    monkeypatch.setitem(RELEASES, "48k", Release("folder/published.pyt", sha256(path), 48000))
    found = json.loads(command("inspect", path, "--json").out)
    assert found == {
        "path": str(path),
        "kind": "bare tensors (the released layout)",
        "sha256": sha256(path),
        "release": "48k",
        "rounds": None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "discriminator_parameters": 0,
        "sample_rate": 44100,
        "latent_rate": 5512.5,
        "chunks": "exact: 17 + 17 latent frames of context to encode, 19 + 20 to decode",
        "model_config": found["model_config"],
        "assumed": ["sample_rate = 44100", "final_tanh = false"],
    }
    ear_sat.models.Autoencoder.from_config(found["model_config"]).load_state_dict(model.state_dict())
    out = command("inspect", path).out
    assert "the published folder/published.pyt" in out and "strides [2, 4], ELU, no bias" in out
    assert "use_nearest_upsample" in out and "sample_rate = 44100, final_tanh = false" in out


def test_inspect_takes_what_is_known(tmp_path: Path) -> None:
    path = write_as("release", a_model().state_dict(), tmp_path)
    found = inspect(path, sample_rate=8000, dim_heads=64, final_tanh=True)
    assert found.assumed == [] and (found.sample_rate, found.latent_rate) == (8000, 1000.0)
    assert found.model_config["model"]["decoder"]["config"]["transformer"] == {"depth": 1, "dim_heads": 64}


# -- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "seed"), [(None, 0), ("last", 0), ("step-90", 1), ("step-1000", 2), ("best", 3), ("best.ckpt", 3)]
)
@pytest.mark.parametrize("target", ["a.pyt", "a.ckpt", "a.safetensors", "hub"])
def test_export_of_a_run(
    name: str | None, seed: int, target: str, run: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    options = ["--checkpoint", name] if name else []
    options += ["--format", "hub"] if target == "hub" else []
    result = command("export", run, tmp_path / target, *options)
    assert result.code == 0 and result.err == "" and "assumed" not in result.out
    checkpoint = read_checkpoint(tmp_path / target)
    assert checkpoint.rounds == 7 and checkpoint.model_config["sample_rate"] == 22050
    assert "training" not in checkpoint.model_config
    model = ear_sat.load_autoencoder(tmp_path / target, final_tanh=False)
    assert all(torch.equal(a, b) for a, b in zip(outputs(model), outputs(a_model(seed)), strict=True))


def test_export_of_a_checkpoint(run: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    assert command("export", run / "checkpoints" / "best.ckpt", tmp_path / "a.safetensors").code == 0
    state = read_checkpoint(tmp_path / "a.safetensors").state
    assert all(torch.equal(value, state[key]) for key, value in a_model(3).state_dict().items())
    result = command("export", run / "checkpoints" / "best.ckpt", tmp_path / "b.pyt", "--checkpoint", "last")
    assert result.code == 1
    assert result.err == (
        f"error: --checkpoint is for run folders, and {run}/checkpoints/best.ckpt is none; give the checkpoint itself\n"
    )
    assert not (tmp_path / "b.pyt").exists()


def test_export_of_a_checkpoint_that_is_not_there(run: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    result = command("export", run, tmp_path / "a.pyt", "--checkpoint", "step-100")
    assert result.code == 1
    assert result.err == (
        f"error: no such file: {run}/checkpoints/step-100.ckpt; --checkpoint can be best, last, step-90, step-1000\n"
    )
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    result = command("export", run, tmp_path / "a.pyt")
    assert result.err == f"error: no such file: {run}/checkpoints/last.ckpt; the run saved no checkpoint\n"
    assert not (tmp_path / "a.pyt").exists()


def test_export_does_not_overwrite(run: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "a.pyt").write_text("precious")
    assert command("export", run, tmp_path / "a.pyt").code == 1
    assert (tmp_path / "a.pyt").read_text(encoding="utf-8") == "precious"
    assert command("export", run, tmp_path / "a.pyt", "--force").code == 0


def test_export_of_a_hub_folder(run: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    """A folder need not be a run."""
    assert command("export", run, tmp_path / "hub", "--format", "hub").code == 0
    assert command("export", tmp_path / "hub", tmp_path / "a.ckpt").code == 0
    assert read_checkpoint(tmp_path / "a.ckpt").model_config["sample_rate"] == 22050


# -- config --model-from ----------------------------------------------------------------------------------------------

BASE = Path(__file__).parents[2] / "model_configs" / "ear_vae.json"


def test_config_from_weights(run: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    result = command("config", BASE, "--model-from", run, "--set", "training.update=alternate", "--out", tmp_path / "a")
    assert result.code == 0 and result.err == "" and result.out == f"wrote {tmp_path / 'a'}\n"
    config = json.loads((tmp_path / "a").read_text(encoding="utf-8"))
    base = json.loads(BASE.read_text(encoding="utf-8"))
    assert config["training"] == {**base["training"], "update": "alternate"}
    assert config["sample_rate"] == 22050 and config["sample_size"] == base["sample_size"]
    built = ear_sat.models.Autoencoder.from_config(config)
    built.load_state_dict(a_model().state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(outputs(built.eval()), outputs(a_model()), strict=True))


def test_config_from_weights_says_what_it_assumes(tmp_path: Path, command: Callable[..., Any]) -> None:
    """And rounds the clip length to the hop, 15 samples here."""
    path = write_as("release", golden_state("tiny_no_transformer"), tmp_path)
    result = command("config", BASE, "--model-from", path)
    config = json.loads(result.out)
    assert result.err == f"not in {path} and assumed: sample_rate = 44100, final_tanh = false\n"
    assert config["sample_size"] % 15 == 0 and abs(config["sample_size"] - 65536) < 15
    assert config["model"]["downsampling_ratio"] == 15


def test_config_from_weights_keeps_parts_frozen(run: Path, command: Callable[..., Any]) -> None:
    """Else a decoder-only fine-tuning would train the encoder too."""
    result = command("config", BASE.with_name("ear_vae_finetune_decoder.json"), "--model-from", run)
    model = json.loads(result.out)["model"]
    assert model["encoder"]["requires_grad"] is False and "requires_grad" not in model["decoder"]
    assert model["encoder"]["config"]["strides"] == [2, 4]
    assert [model[part]["config"]["gradient_checkpointing"] for part in ("encoder", "decoder")] == ["auto"] * 2


@pytest.mark.parametrize("name", ["ear_ldm", "ear_ldm_demo_inpaint", "ear_ldm_demo_uncond"])
def test_config_from_weights_of_a_diffusion_model(name: str, run: Path, command: Callable[..., Any]) -> None:
    """Its pretransform is what the weights describe; the rest of the model stays."""
    path = BASE.with_name(f"{name}.json")
    config, base = json.loads(command("config", path, "--model-from", run).out), json.loads(path.read_text("utf-8"))
    pretransform = config["model"]["pretransform"]
    assert config["sample_rate"] == 22050 and config["training"] == base["training"]
    assert config["model"] == {**base["model"], "pretransform": pretransform}
    assert pretransform == {**base["model"]["pretransform"], "config": pretransform["config"]}
    built = ear_sat.models.Autoencoder.from_config({**config, "model": pretransform["config"]})
    built.load_state_dict(a_model().state_dict(), strict=True)


def test_config_from_weights_needs_a_place(run: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "lm.json").write_text('{"model_type": "lm", "model": {}}')
    result = command("config", tmp_path / "lm.json", "--model-from", run)
    assert result.code == 1 and result.err.startswith("error: --model-from needs the config of an autoencoder")


def test_config_out(tmp_path: Path, command: Callable[..., Any]) -> None:
    assert command("config", BASE, "--out", tmp_path / "new" / "a.json").code == 0
    assert json.loads((tmp_path / "new" / "a.json").read_text("utf-8")) == json.loads(BASE.read_text("utf-8"))
    result = command("config", BASE, "--out", tmp_path / "new" / "a.json" / "b.json")
    assert result.code == 1 and result.err.startswith(f"error: cannot write {tmp_path}")
    result = command("config", BASE, "--diff", BASE, "--out", tmp_path / "b.json")
    assert result.code == 1 and "drop --out" in result.err and not (tmp_path / "b.json").exists()


# -- without the host -------------------------------------------------------------------------------------------------


def test_no_host_is_needed(tmp_path: Path) -> None:
    """Loading, converting and inspecting import neither stable-audio-tools nor Lightning."""
    write_weights(a_model().state_dict(), tmp_path / "a.pyt", metadata=config_metadata(CONFIG))
    code = (
        "import sys\n"
        "sys.modules['stable_audio_tools'] = sys.modules['pytorch_lightning'] = None\n"
        "import ear_sat\n"
        "assert 'torch' not in sys.modules\n"
        "from ear_sat.cli.main import main\n"
        f"ear_sat.load_autoencoder({str(tmp_path / 'a.pyt')!r})\n"
        f"assert main(['export', {str(tmp_path / 'a.pyt')!r}, {str(tmp_path / 'a.ckpt')!r}]) == 0\n"
        f"assert main(['inspect', {str(tmp_path / 'a.ckpt')!r}]) == 0\n"
        "assert 'sympy' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ear_sat.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "" and torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"].keys() == (
        cloned(a_model().state_dict()).keys()
    )


def test_unknown_attributes_of_the_package() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'load_autoencoders'"):
        ear_sat.load_autoencoders  # noqa: B018
