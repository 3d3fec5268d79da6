"""Weights under other keys, in several files, or beside numpy scalars are read as what they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel
from weights_test_models import CONFIG, Evil, cloned, equal, model_of, outputs, rezip, tiny

import ear_sat
from ear_sat.training.run.pretrained import load_strictly
from ear_sat.weights import read_checkpoint

Rename = Callable[[str], str]
WRAPPED: dict[str, Rename] = {
    "DistributedDataParallel": lambda key: f"module.{key}",
    "torch.compile": lambda key: f"_orig_mod.{key}",
    "both": lambda key: f"module._orig_mod.{key}",
    "compiled parts": lambda key: key.replace("coder.", "coder._orig_mod.", 1),
    "compiled blocks": lambda key: key.replace("layers.1.", "layers.1._orig_mod.", 1),
    "a training under both": lambda key: f"_orig_mod.module.autoencoder.{key}",
    "FSDP": lambda key: f"_fsdp_wrapped_module.{key}",
}


@pytest.mark.parametrize("rename", WRAPPED.values(), ids=WRAPPED)
def test_keys_of_a_wrapped_model(rename: Rename, tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"state_dict": {rename(key): value for key, value in state.items()}}, tmp_path / "a.ckpt")
    assert equal(read_checkpoint(tmp_path / "a.ckpt").state, state)


def test_an_averaged_model_of_torch(tmp_path: Path) -> None:
    model = tiny()
    averaged = AveragedModel(model)
    averaged.update_parameters(model)
    torch.save(averaged.state_dict(), tmp_path / "a.pt")
    assert equal(ear_sat.load_autoencoder(tmp_path / "a.pt", sample_rate=8000).state_dict(), model.state_dict())


def parametrized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with each convolution's weight norm as torch's own of today holds it."""
    spelled = dict(state)
    for key in [key for key in state if key.endswith("weight_v")]:
        name = key.removesuffix("weight_v")
        v, g = spelled.pop(key), spelled.pop(f"{name}weight_g")
        layer = nn.Conv1d(v.shape[1], v.shape[0], v.shape[2], bias=False)
        layer.weight.data = v * g / v.norm(dim=(1, 2), keepdim=True)
        spelled |= {name + k: t for k, t in parametrizations.weight_norm(layer).state_dict().items()}
    return spelled


def test_parametrised_weight_norm(tmp_path: Path) -> None:
    model = model_of(CONFIG)
    spelled = parametrized(cloned(model.state_dict()))
    assert "encoder.layers.0.parametrizations.weight.original0" in spelled
    torch.save({"state_dict": spelled}, tmp_path / "a.ckpt")
    read = ear_sat.load_autoencoder(tmp_path / "a.ckpt", sample_rate=22050)
    for preds, target in zip(outputs(read), outputs(model), strict=True):
        assert torch.allclose(preds, target, atol=1e-5)


class Stranger(nn.Module):
    """A model that spells its keys as wrappers do, as one of the host may."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"module": parametrizations.weight_norm(nn.Conv1d(2, 3, 1))})


def test_a_model_that_is_spelled_so_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, other = Stranger(), Stranger()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.ckpt")
    load_strictly(other, tmp_path / "a.ckpt")
    assert equal(dict(other.state_dict()), dict(model.state_dict()))


def test_keys_that_would_become_one_stay_two(tmp_path: Path) -> None:
    save_file({"a.module.b": torch.zeros(1), "a.b": torch.ones(1)}, tmp_path / "a.safetensors")
    assert read_checkpoint(tmp_path / "a.safetensors").state.keys() == {"a.module.b", "a.b"}


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_beside_the_tensors(zipped: bool, tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "a.ckpt"
    scalars = [np.float64(0.5), np.float32(1), np.int64(3), np.bool_(True), np.datetime64("2026-11-29")]
    content = {"state_dict": state, "global_step": np.int64(7), "best": {"scores": scalars}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert equal(read_checkpoint(path).state, state)
    if zipped:  # as numpy before 2 wrote them
        rezip(path, lambda name, data: data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        assert equal(read_checkpoint(path).state, state)


def test_a_numpy_scalar_brings_no_code(tmp_path: Path, refused: Callable[..., str], state: dict[str, Tensor]) -> None:
    class Scalar:
        def __reduce__(self) -> Any:
            function = np.float64(0).__reduce__()[0]
            return function, (np.dtype("O"), Evil(os.system, f"touch {tmp_path / 'ran'}"))

    torch.save({"state_dict": state, "score": Scalar()}, tmp_path / "a.ckpt")
    assert "wants to run code when it is loaded" in refused(tmp_path / "a.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def sharded(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    """The folder of a model in two parts."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    places = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        part = dict(list(state.items())[number - 1 :: 2])
        save_file(part, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


@pytest.mark.parametrize("given", ["", "model.safetensors.index.json", "model-00002-of-00002.safetensors"])
def test_a_model_in_parts(given: str, sharded: Path, state: dict[str, Tensor]) -> None:
    checkpoint = read_checkpoint(sharded / given)
    assert equal(checkpoint.state, state) and checkpoint.kind == "safetensors in 2 part(s)"
    ear_sat.load_autoencoder(sharded / given, sample_rate=8000)


def test_a_model_with_parts_missing(sharded: Path, refused: Callable[..., str]) -> None:
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text(encoding="utf-8"))

    def change(**places: str) -> None:
        index.write_text(json.dumps({"weight_map": content["weight_map"] | places}), encoding="utf-8")

    change(**{"encoder.layers.9.bias": "model-00001-of-00002.safetensors"})
    assert "model-00001-of-00002.safetensors lacks encoder.layers.9.bias; get all parts" in refused(sharded)
    for elsewhere in ("../model.safetensors", ""):
        change(extra=elsewhere)
        assert "is not an index of weights: it needs a weight_map" in refused(sharded)
    change(extra="model-00003-of-00003.safetensors")
    assert "names model-00003-of-00003.safetensors, which is not beside it" in refused(sharded)
    index.unlink()
    lonely = refused(sharded / "model-00001-of-00002.safetensors")
    assert "is one of 2 parts; put the others and model.safetensors.index.json beside it" in lonely
