"""A file of weights is the old one or the complete new one, whatever interrupts the writing."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from weights_test_models import METADATA, equal, tiny

from ear_sat import UserError
from ear_sat.models import Autoencoder
from ear_sat.weights import read_checkpoint, write_weights


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


TARGETS = {"release": "a.pyt", "host": "a.ckpt", "safetensors": "a.safetensors", "hub": "hub"}


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("broken", ["save", "os.replace", "os.fsync"])
@pytest.mark.parametrize("old", [True, False])
def test_a_full_disk_leaves_the_old_file(
    form: str, broken: str, old: bool, state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / TARGETS[form]
    if old:
        write_weights(tiny(5, transformer={"depth": 2}).state_dict(), target, metadata=METADATA, file_format=form)
    before = listing(tmp_path)
    with monkeypatch.context() as patch:
        for name in ("torch.save", "ear_sat.weights.writing.save_file") if broken == "save" else (broken,):
            patch.setattr(name, full)
        with pytest.raises(UserError, match=f"^cannot write {re.escape(str(target))}: No space left on device; "):
            write_weights(state, target, metadata=METADATA, file_format=form, overwrite=True)
    assert listing(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ([target.name] if old else [])


@pytest.mark.parametrize("form", TARGETS)
def test_a_write_that_fails_half_way(form: str, tmp_path: Path) -> None:
    """A real failing write: a limit on file sizes. torch and safetensors report it as errors of their own."""
    target = tmp_path / TARGETS[form]
    model = tiny(channels=32)
    write_weights(tiny(5, channels=32).state_dict(), target, metadata=METADATA, file_format=form)
    before = listing(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(UserError, match=rf"^cannot write {target}: .*File too large.*; free some space") as error:
            write_weights(model.state_dict(), target, metadata=METADATA, file_format=form, overwrite=True)
        assert "\n" not in str(error.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert listing(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("form", TARGETS)
def test_an_interrupt_leaves_nothing(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    monkeypatch.setattr("ear_sat.weights.writing.save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_weights(tiny().state_dict(), tmp_path / TARGETS[form], metadata=METADATA, file_format=form)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places(state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write .*file/a\.pyt: (File exists|Not a directory); free some space or"
    ):
        write_weights(state, tmp_path / "file" / "a.pyt")
    with pytest.raises(UserError, match=r"cannot write .*: File name too long; choose another"):
        write_weights(state, tmp_path / ("a" * 300 + ".pyt"))


@pytest.mark.parametrize("form", TARGETS)
def test_files_obey_the_umask(form: str, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_weights(tiny().state_dict(), tmp_path / TARGETS[form], metadata=METADATA, file_format=form)
    finally:
        os.umask(old)
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert path.stat().st_mode & 0o777 == 0o640, path


def test_hub_folder(state: dict[str, Tensor], tmp_path: Path, command: Callable[..., Any]) -> None:
    write_weights(state, tmp_path / "source.pyt")
    result = command("export", tmp_path / "source.pyt", tmp_path / "new" / "hub", "--format", "hub")
    assert result.code == 0 and "written to its config: sample_rate = 44100, final_tanh = false" in result.out
    assert sorted(path.name for path in (tmp_path / "new" / "hub").iterdir()) == [
        "README.md",
        "model.safetensors",
        "model_config.json",
    ]
    config = json.loads((tmp_path / "new" / "hub" / "model_config.json").read_text(encoding="utf-8"))
    built = Autoencoder.from_config(config)
    built.load_state_dict(load_file(tmp_path / "new" / "hub" / "model.safetensors"), strict=True)
    assert config["sample_rate"] == 44100 and config["model_type"] == "autoencoder"
    with pytest.raises(UserError, match="needs a model config"):
        write_weights(state, tmp_path / "other", file_format="hub")


def test_the_current_folder_as_a_hub_folder(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_weights(state, ".", metadata=METADATA, file_format="hub", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "model_config.json"]
    assert equal(read_checkpoint(".").state, state)
