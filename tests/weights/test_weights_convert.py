"""Conversion: every tensor bit-equal, metadata kept, both keys of shared activations, all of a file or nothing."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from weights_test_models import (
    CONFIG,
    FORMATS,
    GOLDEN,
    METADATA,
    cloned,
    config_of,
    equal,
    golden_state,
    outputs,
    release_keys,
    tiny,
    write_as,
)

import ear_sat
from ear_sat import UserError
from ear_sat.models import Autoencoder
from ear_sat.models.transformer import rotary_frequencies
from ear_sat.weights import config_metadata, format_of, read_checkpoint, write_weights


def independent(tensors: dict[str, Tensor]) -> bool:
    """No two tensors share memory, and none has more than it needs."""
    storages = [value.untyped_storage() for value in tensors.values()]
    return len({s.data_ptr() for s in storages}) == len(storages) and all(
        s.nbytes() == value.nbytes for s, value in zip(storages, tensors.values(), strict=True)
    )


@pytest.mark.parametrize("metadata", [{}, METADATA], ids=["bare", "described"])
def test_there_and_back(
    metadata: dict[str, str], state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]
) -> None:
    first, last = tmp_path / "first.pyt", tmp_path / "last.pyt"
    write_weights(state, first, metadata=metadata)
    chain = [first, tmp_path / "a.ckpt", tmp_path / "b.safetensors", last, tmp_path / "c.safetensors"]
    for source, target in itertools.pairwise(chain):
        result = command("export", source, target)
        assert result.code == 0 and result.err == ""
        assert result.out.startswith(f"{target}: {len(state)} tensors of {source} (")
        assumption = "not in the source and assumed when it is loaded: sample_rate = 44100, final_tanh = false"
        assert (assumption in result.out) == (not metadata)
        checkpoint = read_checkpoint(target)
        assert equal(checkpoint.state, state) and checkpoint.metadata == metadata
        assert checkpoint.rounds == (77 if metadata else None)
    one, other = (torch.load(path, weights_only=True) for path in (first, last))
    assert list(one) == list(other) and equal(one, other)


def test_the_three_layouts(state: dict[str, Tensor], tmp_path: Path) -> None:
    """What other programs find, without our reader."""
    for name in ("a.pyt", "a.pt", "a.pth", "a.ckpt", "a.safetensors", "A.SAFETENSORS"):
        write_weights(state, tmp_path / name, metadata=METADATA)
    for name in ("a.pyt", "a.pt", "a.pth"):
        bare = torch.load(tmp_path / name, weights_only=True)
        assert equal(dict(bare), release_keys(state)) and independent(bare)
        assert all(type(value) is Tensor for value in bare.values())
        # The authors load it strictly into modules of theirs.
        decoder = Autoencoder.from_config(CONFIG).decoder
        transformers = {k.removeprefix("transformers."): v for k, v in bare.items() if k.startswith("transformers.")}
        decoder.transformers.load_state_dict(transformers, strict=True)
    host = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert equal(host["state_dict"], state) and independent(host["state_dict"]) and host["metadata"] == METADATA
    for name in ("a.safetensors", "A.SAFETENSORS"):
        assert equal(load_file(tmp_path / name), state)
        with safe_open(tmp_path / name, framework="pt") as file:
            assert file.metadata() == {"format": "pt", **METADATA}


@pytest.mark.parametrize("form", ["release", "host", "safetensors"])
def test_both_keys_of_shared_activations_are_written(form: str, tmp_path: Path) -> None:
    """Also from a model, whose state has one tensor under both keys, and from a file that lacks one of them."""
    model = tiny()
    write_weights(model.state_dict(), tmp_path / "a", file_format=form)
    source = write_as("save_model", model.state_dict(), tmp_path, config_of())
    assert len(load_file(source)) < len(model.state_dict())
    assert ear_sat.cli.main.main(["export", str(source), str(tmp_path / "b"), "--format", form]) == 0
    for name in ("a", "b"):
        state = read_checkpoint(tmp_path / name).state
        assert equal(state, cloned(model.state_dict())) and independent(state)


@pytest.mark.parametrize("form", FORMATS)
def test_from_everything(form: str, tmp_path: Path, command: Callable[..., Any]) -> None:
    state = golden_state("tiny_transformer")
    sizes = {"channels": 8, "transformer": {"depth": 2}}
    source = write_as(form, state, tmp_path, config_of([2, 4, 8], [1, 2, 4], **sizes))
    assert command("export", source, tmp_path / "out" / "a.pyt").code == 0
    assert equal(torch.load(tmp_path / "out" / "a.pyt", weights_only=True), release_keys(state))


@pytest.mark.parametrize("form", ["release", "host", "safetensors", "training", "save_model"])
def test_activations_stay_shared_when_trained(form: str, tmp_path: Path) -> None:
    model = tiny()
    path = write_as(form, model.state_dict(), tmp_path, config_of())
    loaded = ear_sat.load_autoencoder(path, sample_rate=44100, final_tanh=False).train()
    unit = loaded.encoder.layers[1].layers[0].layers
    assert unit[0].alpha is unit[2].alpha and unit[0].beta is unit[2].beta
    assert len(list(loaded.parameters())) == len(list(model.parameters()))
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.01)
    before = unit[0].alpha.detach().clone()
    audio = torch.randn(1, 2, 64)
    (loaded.decode(loaded.encode(audio)) - audio).square().mean().backward()
    # Both uses of the activation contribute to the one gradient.
    gradient = unit[0].alpha.grad.clone()
    optimizer.step()
    torch.testing.assert_close(unit[2].alpha, before - 0.01 * gradient)
    state = loaded.state_dict()
    for key in state:
        if key.endswith(("layers.0.alpha", "layers.0.beta")) and key.replace("layers.0.a", "layers.2.a") in state:
            assert torch.equal(state[key], state[key.replace("layers.0.a", "layers.2.a")])
    write_weights(state, tmp_path / "trained.safetensors")
    again = ear_sat.load_autoencoder(tmp_path / "trained.safetensors", sample_rate=44100, final_tanh=False)
    assert all(torch.equal(a, b) for a, b in zip(outputs(again), outputs(loaded.eval()), strict=True))


def test_loading_leaves_the_random_numbers_alone(state: dict[str, Tensor], tmp_path: Path) -> None:
    write_weights(state, tmp_path / "a.pyt", metadata=METADATA)
    before = torch.get_rng_state()
    ear_sat.load_autoencoder(tmp_path / "a.pyt")
    assert torch.equal(before, torch.get_rng_state())


def read_memory(name: str) -> int:
    """Bytes that this process holds (VmRSS), or held at most since the reset (VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def load_and_measure(path: Path) -> tuple[Autoencoder, int, int]:
    """The model, and by how much the memory rose at most and in the end."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak memory cannot be reset here")
    before = read_memory("VmRSS")
    model = ear_sat.load_autoencoder(path)
    return model, read_memory("VmHWM") - before, read_memory("VmRSS") - before


@pytest.mark.parametrize("suffix", [".pyt", ".ckpt", ".safetensors"])
def test_memory_of_loading(suffix: str, tmp_path: Path) -> None:
    """At most two copies of the tensors at any time (safetensors maps the file), one afterwards."""
    config = config_of([2, 2, 2], [1, 8, 16], channels=64)
    path = tmp_path / f"a{suffix}"
    write_weights(Autoencoder.from_config(config).state_dict(), path, metadata=config_metadata(config))
    size = path.stat().st_size
    assert size > 70e6
    model, peak, after = load_and_measure(path)
    assert peak < 2.2 * size and after < 1.2 * size
    assert sum(p.nbytes for p in model.parameters()) > 0.95 * size


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pyt", ".safetensors"])
@pytest.mark.filterwarnings("ignore:.*does not say everything")
def test_memory_of_loading_the_release(suffix: str, tmp_path: Path) -> None:
    """A file of the size, keys and shapes of the 44.1 kHz release, 591 MB."""
    manifest = json.loads((GOLDEN / "ear_vae_44k.manifest.json").read_text(encoding="utf-8"))
    state = {key: torch.full(shape, 0.01) for key, (shape, _) in manifest.items()}
    state |= {key: rotary_frequencies(2 * len(state[key])) for key in state if key.endswith("inv_freq")}
    path = tmp_path / f"release{suffix}"
    write_weights({f"decoder.{k}" if k.startswith("transformers.") else k: v for k, v in state.items()}, path)
    del state
    assert path.stat().st_size == pytest.approx(591.4e6, rel=1e-3)
    model, peak, _ = load_and_measure(path)
    assert peak < 1.3e9
    assert sum(p.numel() for p in model.parameters()) == 147_831_810


@pytest.mark.parametrize("name", ["a.pyt", "a.ckpt", "a.safetensors", "hub"])
def test_nothing_is_overwritten_without_force(
    name: str, state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]
) -> None:
    write_weights(state, tmp_path / "source.pyt", metadata=METADATA)
    target = tmp_path / name
    arguments = ["export", tmp_path / "source.pyt", target, *(["--format", "hub"] if name == "hub" else [])]
    if name == "hub":
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    else:
        target.write_text("precious")
    result = command(*arguments)
    assert result.code == 1
    assert result.err == f"error: {target} exists already; choose another name or add --force\n"
    assert name == "hub" or target.read_text(encoding="utf-8") == "precious"
    assert command(*arguments, "--force").code == 0
    assert equal(read_checkpoint(target).state, state)
    assert name != "hub" or (target / "notes.txt").read_text(encoding="utf-8") == "mine"
    # The check comes first: a wrong source does not matter yet.
    assert "exists already" in command("export", tmp_path / "none.pyt", *arguments[2:]).err


def test_in_place(state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]) -> None:
    """The source may be the target."""
    for name in ("a.pyt", "a.safetensors"):
        write_weights(state, tmp_path / name)
        assert command("export", tmp_path / name, tmp_path / name, "--force", "--sample-rate", 8000).code == 0
        checkpoint = read_checkpoint(tmp_path / name)
        assert equal(checkpoint.state, state) and checkpoint.model_config["sample_rate"] == 8000


def test_files_and_folders_are_not_mixed_up(
    state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]
) -> None:
    write_weights(state, tmp_path / "source.pyt", metadata=METADATA)
    (tmp_path / "folder.ckpt").mkdir()
    result = command("export", tmp_path / "source.pyt", tmp_path / "folder.ckpt", "--force")
    assert result.err == f"error: {tmp_path}/folder.ckpt is a folder; give the path of a file\n"
    result = command("export", tmp_path / "source.pyt", tmp_path / "source.pyt", "--format", "hub", "--force")
    assert result.err == f"error: {tmp_path}/source.pyt is a file; give the path of a folder\n"
    assert equal(read_checkpoint(tmp_path / "source.pyt").state, state)


def test_formats_by_name(tmp_path: Path, command: Callable[..., Any]) -> None:
    assert [format_of(name) for name in ("a.pyt", "a.PT", "b/a.pth", "a.ckpt", "a.b.safetensors")] == [
        "release",
        "release",
        "release",
        "host",
        "safetensors",
    ]
    for name in ("a", "a.bin", "hub/", "a.ckpt.tmp"):
        with pytest.raises(UserError, match=r"cannot tell the format of .*; end it in \.pyt, .*, or give --format"):
            format_of(name)
    with pytest.raises(UserError, match="unknown format 'pyt'"):
        write_weights(tiny().state_dict(), tmp_path / "a", file_format="pyt")
    assert command("export", "none", tmp_path / "x").code == 1


def test_values_that_are_given_are_stored(
    state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]
) -> None:
    write_weights(state, tmp_path / "bare.pyt", metadata={"author": "me", "rounds": "5"})
    result = command("export", tmp_path / "bare.pyt", tmp_path / "a.pyt", "--sample-rate", 12345, "--dim-heads", 32)
    assert result.out.endswith("not in the source and written to its config: final_tanh = false\n")
    checkpoint = read_checkpoint(tmp_path / "a.pyt")
    assert checkpoint.metadata["author"] == "me" and checkpoint.rounds == 5
    assert set(torch.load(tmp_path / "a.pyt", weights_only=True)) == set(release_keys(state))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ear_sat.load_autoencoder(tmp_path / "a.pyt").sample_rate == 12345
    assert command("export", tmp_path / "bare.pyt", tmp_path / "t.pyt", "--final-tanh").code == 0
    assert isinstance(ear_sat.load_autoencoder(tmp_path / "t.pyt").decoder.layers[-1], torch.nn.Tanh)
    assert command("export", tmp_path / "t.pyt", tmp_path / "u.pyt", "--no-final-tanh").code == 0
    assert isinstance(ear_sat.load_autoencoder(tmp_path / "u.pyt").decoder.layers[-1], torch.nn.Identity)
    result = command("export", tmp_path / "bare.pyt", tmp_path / "b.pyt", "--sample-rate", "-5")
    assert result.code == 1 and "sample_rate must be a whole number of Hz, not -5" in result.err
    result = command("export", tmp_path / "bare.pyt", tmp_path / "b.pyt", "--dim-heads", 7)
    assert result.code == 1 and "dim_heads can be 32 here, not 7" in result.err
    assert not (tmp_path / "b.pyt").exists()


def test_the_earlier_name_of_the_command(state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]) -> None:
    write_weights(state, tmp_path / "a.pyt")
    result = command("convert", tmp_path / "a.pyt", tmp_path / "b.ckpt")
    assert result.code == 0 and equal(read_checkpoint(tmp_path / "b.ckpt").state, state)
    assert result.err == "note: ear-sat convert is ear-sat export now, with the same arguments\n"
