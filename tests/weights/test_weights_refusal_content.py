"""Checkpoints of other numbers, other models, or with other keys: one clear sentence each, nothing written."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from weights_test_models import cloned, config_of, golden_state, tiny, write_as

import ear_sat
from ear_sat import UserError
from ear_sat.weights import config_metadata, read_checkpoint, write_weights


@pytest.mark.parametrize("word", ["float16", "bfloat16", "float64", "int64", "int8", "bool", "complex64"])
def test_other_number_types(word: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    """In files of either form."""
    state, dtype, first = tiny().state_dict(), getattr(torch, word), "encoder.layers.0.bias"
    path = write_as("release", {key: value.to(dtype) for key, value in state.items()}, tmp_path)
    assert f"{path}: {len(state)} of {len(state)} tensors are {word}, not float32 ({first}, …); " in refused(path)
    path = write_as("safetensors", state | {first: state[first].to(dtype)}, tmp_path)
    assert f"{path}: 1 of {len(state)} tensors are {word}, not float32 ({first}); " in refused(path)


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors(tmp_path: Path, refused: Callable[..., str]) -> None:
    quantised = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)
    torch.save({**tiny().state_dict(), "encoder.layers.0.bias": quantised}, tmp_path / "a.pt")
    assert "tensors are qint8, not float32 (encoder.layers.0.bias);" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("value", "form"), [(math.nan, "release"), (math.inf, "training_ema"), (-math.inf, "safetensors")]
)
def test_values_that_are_not_finite(value: float, form: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    state = cloned(tiny().state_dict())
    state["decoder.layers.1.layers.1.weight_v"][0, 0, 0] = value
    path = write_as(form, state, tmp_path)
    where = "(decoder.layers.1.layers.1.weight_v); "
    assert f"{path}: 1 of {len(state)} tensors hold NaN or infinite values {where}" in refused(path)


def test_only_the_autoencoder_has_to_be_finite(tmp_path: Path) -> None:
    """The last checkpoint of a discriminator that diverged still has an autoencoder."""
    state: dict[str, Tensor] = {f"autoencoder.{k}": v for k, v in tiny().state_dict().items()}
    torch.save({"state_dict": state | {"discriminator.a": torch.tensor([float("nan")])}}, tmp_path / "a.ckpt")
    assert set(read_checkpoint(tmp_path / "a.ckpt").discriminator) == {"a"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "holds no tensors by name, nor anything else; give a checkpoint of a model"),
        ({"state_dict": {}}, "holds no tensors by name, nor anything else"),
        ({"epoch": 3, "lr": 1e-4, "model": {"a": 1}}, "holds no tensors by name, only epoch, lr, model; give"),
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, "only a, b, c, d, …; give"),
        ({1: torch.zeros(2), (2, 3): torch.zeros(2)}, "holds no tensors by name, nor anything else"),
        ([torch.zeros(2)], "holds a list, not a dictionary of tensors"),
        (torch.zeros(2), "holds a Tensor, not a dictionary of tensors"),
        ("text", "holds a str, not a dictionary of tensors"),
        (None, "holds a NoneType, not a dictionary of tensors"),
        (OrderedDict(), "holds no tensors by name"),
    ],
)
def test_content_without_tensors(content: Any, words: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert words in refused(tmp_path / "a.pt")


def test_other_models(tmp_path: Path, refused: Callable[..., str]) -> None:
    from ear_sat.models import MultiResolutionSTFTDiscriminator

    discriminator = MultiResolutionSTFTDiscriminator(filters=2, windows=[128, 64])
    language = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 8), 2)
    for model, found in ((discriminator, r"discriminators\.0 ×|\w+\.0 ×"), (language, r"layers\.0 ×12, layers\.1 ×12")):
        torch.save(model.state_dict(), tmp_path / "a.pt")
        assert re.search(
            rf"cannot use .*a\.pt: this is not an εar-VAE, or not all of it: it has no chain of blocks .*; "
            rf"found {found}.*; other models load with the code that made them",
            refused(tmp_path / "a.pt"),
        )
    torch.save(
        {"state_dict": {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}}, tmp_path / "b.pt"
    )
    assert "found discriminator." in refused(tmp_path / "b.pt")


def test_activations_that_are_not_shared(tmp_path: Path, refused: Callable[..., str]) -> None:
    """As in a trained Oobleck model of the host, which has the same keys."""
    state = cloned(tiny().state_dict())
    state["encoder.layers.1.layers.0.layers.2.alpha"] += 1
    torch.save(state, tmp_path / "a.pt")
    unit = "encoder.layers.1.layers.0.layers"
    assert f"a.pt is another model: {unit}.0.alpha and {unit}.2.alpha differ, " in refused(tmp_path / "a.pt")


def changed(state: dict[str, Tensor], change: str) -> dict[str, Tensor]:
    state = cloned(state)
    first, second = "encoder.layers.2.layers.0.layers.1", "decoder.transformers.layers.1.ff.ff.2"
    if change == "missing":
        del state[f"{first}.bias"]
    elif change == "unexpected":
        state["extra.layers.0.bias"] = torch.zeros(1)
    elif change == "reshaped":
        state[f"{first}.bias"] = torch.zeros(3)
    else:
        del state[f"{first}.bias"], state[f"{first}.weight_g"], state[f"{second}.weight"]
        state["bottleneck.a"] = torch.zeros(1)
        state["encoder.layers.0.weight_g"] = torch.zeros(8)
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", "1 missing (encoder.layers.2 ×1)"),
        ("unexpected", "1 unexpected (extra.layers.0 ×1)"),
        (
            "reshaped",
            "1 of another shape (encoder.layers.2 ×1), such as encoder.layers.2.layers.0.layers.1.bias: [3] in "
            "the file, [8] in the model",
        ),
        (
            "several",
            "3 missing (decoder.transformers.layers ×1, encoder.layers.2 ×2); 1 unexpected (bottleneck ×1); "
            "1 of another shape (encoder.layers.0 ×1), such as encoder.layers.0.weight_g: [8] in the file, "
            "[8, 1, 1] in the model",
        ),
    ],
)
def test_keys_that_do_not_fit(change: str, words: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    for form in ("release", "training") if change == "several" else ("safetensors",):
        path = write_as(form, changed(golden_state("tiny_transformer"), change), tmp_path)
        assert f"{path} does not fit the architecture read off its tensors: {words}; " in refused(path)


#: Of each kind of key, by its name with other numbers, one.
KINDS = {re.sub(r"\d+", "n", key): key for key in sorted(tiny(transformer={"depth": 1}).state_dict())}


@pytest.mark.parametrize("key", KINDS.values())
def test_any_missing_key_is_named_or_known(key: str, tmp_path: Path) -> None:
    """Every key but one of two shared ones is needed."""
    state = cloned(tiny(transformer={"depth": 1}).state_dict())
    del state[key]
    torch.save(state, tmp_path / "a.pt")
    shared = re.search(r"layers\.\d+\.layers\.\d\.layers\.[02]\.(alpha|beta)$", key)
    if shared:
        assert ear_sat.load_autoencoder(tmp_path / "a.pt", sample_rate=1, dim_heads=32, final_tanh=False)
        return
    with pytest.raises(UserError) as error:
        ear_sat.load_autoencoder(tmp_path / "a.pt")
    module = ".".join(key.split(".")[:3])
    assert f"{module} ×1" in str(error.value) or f"{key} is missing" in str(error.value), error.value


def test_a_training_that_mixes_models(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Keys of an autoencoder beside those of a wrapper: the wrapper's count, and are incomplete."""
    state = dict(tiny().state_dict()) | {"autoencoder.encoder.layers.0.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "a.pt")
    assert "this is not an εar-VAE, or not all of it" in refused(tmp_path / "a.pt")


def test_broken_metadata(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(tiny().state_dict(), path, metadata={"model_config": "{broken", "rounds": "many"})
    assert f"cannot use {path}: the model config stored in {path} is not valid JSON: " in refused(path)
    save_file(cloned(tiny().state_dict()), path, metadata={"rounds": "²", "model_config": "{}"})
    assert read_checkpoint(path).rounds is None


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps:x", "", 12345])
def test_unknown_devices(device: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(tiny().state_dict(), path, metadata=config_metadata(config_of()))
    with pytest.raises(UserError, match=rf"^the device {device} cannot be used: .+") as error:
        ear_sat.load_autoencoder(path, device)
    assert "\n" not in str(error.value)


def test_one_bad_file_among_good_ones_leaves_no_trace(tmp_path: Path, refused: Callable[..., str], good: Path) -> None:
    """After a refusal the next file loads."""
    (tmp_path / "bad.pyt").write_bytes(good.read_bytes()[:5000])
    refused(tmp_path / "bad.pyt")
    assert ear_sat.load_autoencoder(good, sample_rate=44100, final_tanh=False).latent_dim == 32


@pytest.mark.parametrize(
    "key",
    ["encoder.layers.0\n.bias", "\x1b[2Jencoder", "a" * 10_000, "encoder\u202e.bias"],
    ids=["line", "escape", "long", "backwards"],
)
def test_keys_that_are_no_names(key: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    """They would go to the terminal."""
    torch.save({**tiny().state_dict(), key: torch.zeros(1)}, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").endswith("a.pt is damaged: some of its keys are no names; get it again")
    torch.save({key: 1, "b": 2}, tmp_path / "a.pt")
    assert "holds no tensors by name, only " in refused(tmp_path / "a.pt")
