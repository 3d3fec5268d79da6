"""Files that are no checkpoints, or damaged ones: one clear sentence, exit code 1, nothing written."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from weights_test_models import golden_state, tiny, write_as

from ear_sat import UserError
from ear_sat.weights import read_checkpoint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\); get it again"),
        (b"just some text\n", r"is a text file; give the path of a checkpoint"),
        ("ε".encode()[:1] + b"a" * 600, r"of an unknown format, or truncated"),
        (("x" * 511 + "ε" * 100).encode(), r"is a text file"),
        (b'{"model_type": "autoencoder"}', r"is a text file"),
        (b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>", r"is a web page \(an error message saved in"),
        (b"\xef\xbb\xbf<html>", r"is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", r"is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0362\nsize 591\n", r"is a Git LFS pointer, not the"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", r"is an audio file"),
        (b"\x1f\x8b\x08\x00" + bytes(50), r"is a gzip archive"),
        (b"\x00" * 1000, r"of an unknown format, or truncated"),
        (b"\x80", r"is truncated or damaged"),
        (b"\x80\x02" + bytes(20), r"is damaged"),
        (b"PK\x03\x04" + bytes(20), r"is truncated or damaged; get it again"),
        (b"\x7fELF" + bytes(100), r"of an unknown format"),
        (struct.pack("<Q", 1 << 40) + b"{" + bytes(100), r"is of an unknown format"),
        (struct.pack("<Q", 30) + b"{" + bytes(100), r"is not a readable safetensors file"),
        (struct.pack("<Q", 10_000) + b"{}" + bytes(100), r"is not a readable safetensors file"),
        (struct.pack("<Q", 2) + b"{}", r"holds no tensors"),
    ],
)
def test_other_files(content: bytes, words: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "ear_vae_44k.pyt"
    path.write_bytes(content)
    assert re.match(rf"{re.escape(str(path))} .*{words}", refused(path))


def test_no_file_at_all(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert f"no such file: {tmp_path}/none.pyt; " in refused(tmp_path / "none.pyt")
    (tmp_path / "folder.pyt").mkdir()
    assert "folder.pyt is a folder without model.safetensors, " in refused(tmp_path / "folder.pyt")
    assert "File name too long" in refused(tmp_path / ("a" * 300))
    assert "cannot read ~nobody-of-this-name/a.pyt" in refused("~nobody-of-this-name/a.pyt")
    (tmp_path / "dangling.pyt").symlink_to(tmp_path / "gone")
    assert "no such file" in refused(tmp_path / "dangling.pyt")


def test_missing_permission(good: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    if os.getuid() == 0:  # root may read everything
        opened = Path.open

        def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
            if self == good:
                raise PermissionError(13, "Permission denied", str(self))
            return opened(self, *arguments, **options)

        monkeypatch.setattr(Path, "open", refuse)
    else:
        good.chmod(0)
    assert refused(good) == f"cannot read {good}: Permission denied"


@pytest.mark.parametrize("name", ["a.wav", "data/0"])
def test_zip_archives_of_something_else(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.pyt", "w") as archive:
        archive.writestr(name, b"x" * 100)
    assert refused(tmp_path / "a.pyt").endswith(
        "is a zip archive, not a checkpoint; unpack it and give the file inside"
    )


@pytest.mark.filterwarnings("ignore")
def test_torchscript(tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "a.pt"))
    assert "is a TorchScript program" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("form", ["release", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.6, 0.95, 0.99999])
def test_truncation_at_any_length(form: str, share: float, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = write_as(form, golden_state("tiny_transformer"), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: max(1, int(share * len(data)))])
    assert re.search(r"truncated|damaged|not a readable safetensors", refused(path))


@pytest.mark.parametrize("form", ["release", "legacy", "safetensors"])
def test_every_short_length(form: str, tmp_path: Path) -> None:
    """Lengths near nothing and near the whole."""
    path = write_as(form, tiny(channels=1, latent=1).state_dict(), tmp_path)
    data = path.read_bytes()
    for length in [*range(0, 300, 3), *range(len(data) - 300, len(data), 3)]:
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"empty|too short|truncated|damaged|not a readable safetensors"):
            read_checkpoint(path)


@pytest.mark.parametrize("form", ["release", "host"])
def test_flipped_bits_are_found(form: str, tmp_path: Path) -> None:
    """torch itself would load other weights: it does not look at the checksums of its files."""
    model = tiny(channels=1, latent=1)
    path = write_as(form, model.state_dict(), tmp_path)
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    refusals = 0
    for position in generator.integers(0, len(data), 150):
        damaged = bytearray(data)
        damaged[position] ^= 1 << generator.integers(0, 8)
        path.write_bytes(damaged)
        try:
            state = read_checkpoint(path).state
        except UserError as error:
            assert re.search(r"damaged|compressed|zip archive|of an unknown format", str(error))
            refusals += 1
        else:  # a byte that no value depends on, such as padding
            assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert refusals > 40


def test_flipped_bits_of_files_without_checksums(tmp_path: Path) -> None:
    """The legacy format, and safetensors' headers: no crash, whatever is in them."""
    for form in ("legacy", "safetensors"):
        path = write_as(form, tiny(channels=1, latent=1).state_dict(), tmp_path)
        data = path.read_bytes()
        generator = np.random.default_rng(1)
        for position in generator.integers(0, min(len(data), 6000), 100):
            damaged = bytearray(data)
            damaged[position] ^= 1 << generator.integers(0, 8)
            path.write_bytes(damaged)
            try:
                read_checkpoint(path)
            except UserError as error:
                assert str(path) in str(error)


def test_files_without_checksums_load(tmp_path: Path) -> None:
    enabled = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        path = write_as("release", tiny().state_dict(), tmp_path)
    finally:
        torch.serialization.set_crc32_options(enabled)
    assert read_checkpoint(path).state.keys() == tiny().state_dict().keys()
