"""Files made to mislead: no code is run, nothing is unpacked, one clear sentence."""

from __future__ import annotations

import copy
import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from weights_test_models import Evil, cloned, rezip, tiny


@pytest.mark.parametrize("form", ["zip", "zip4", "legacy", "legacy4", "nested", "pickle2", "pickle4"])
@pytest.mark.parametrize("call", [os.system, eval, exec])
def test_code_is_refused(form: str, call: Callable[..., Any], tmp_path: Path, refused: Callable[..., str]) -> None:
    proof = tmp_path / "ran"
    line = f"touch {proof}" if call is os.system else f"open({str(proof)!r}, 'w').close()"
    content: dict[str, Any] = dict(cloned(tiny().state_dict()))
    content["encoder.layers.0.bias"] = Evil(call, line)
    path = tmp_path / "a.pyt"
    if form == "nested":
        torch.save({"state_dict": tiny().state_dict(), "callbacks": {"a": [content]}}, path)
    elif form.startswith("pickle"):
        path.write_bytes(pickle.dumps({"a": Evil(call, line)}, protocol=int(form[-1])))
    else:
        protocol = 4 if form.endswith("4") else 2
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form.startswith("zip"))
    sentence = refused(path)
    assert not proof.exists()
    module = "(posix|nt).system" if call is os.system else rf"(builtins\.|__builtin__\.)?{call.__name__}"
    assert re.search(
        rf"a\.pyt (is damaged or )?wants to run code when it is loaded \({module}\) and is refused;", sentence
    )
    assert sentence.endswith("; get a file that holds only tensors, such as a .safetensors")


@pytest.mark.parametrize(
    ("value", "word"),
    [(Path("x"), "pathlib"), (np.zeros(2), "numpy"), (tiny(), "ear_sat.models.autoencoder.Autoencoder")],
)
def test_objects_are_code(value: Any, word: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.save({"state_dict": tiny().state_dict(), "hyper_parameters": value}, tmp_path / "a.ckpt")
    assert re.search(rf"wants to run code when it is loaded \({word}", refused(tmp_path / "a.ckpt"))


def test_later_pickle_protocols(tmp_path: Path, refused: Callable[..., str]) -> None:
    for zipped in (True, False):
        torch.save(tiny().state_dict(), tmp_path / "a.pt", pickle_protocol=4, _use_new_zipfile_serialization=zipped)
        assert refused(tmp_path / "a.pt").endswith("save its tensors with torch.save's defaults or as .safetensors")


def test_zip_bombs(good: Path, refused: Callable[..., str]) -> None:
    """A pickle, or a tensor, of zeros packs to a thousandth."""
    for part in ("data.pkl", "data/3"):
        rezip(good, lambda n, data, part=part: data + bytes(50_000_000) * n.endswith(part), zipfile.ZIP_DEFLATED)
        assert good.stat().st_size < 1_000_000
        assert refused(good).endswith(
            "is a compressed archive, which torch never writes; unpack it if there is a checkpoint inside"
        )


def test_overlapping_entries(good: Path, refused: Callable[..., str]) -> None:
    """Many entries of the directory point to the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", bytes(10_000))
        archive.filelist.extend(copy.copy(archive.filelist[0]) for _ in range(50))
    good.write_bytes(buffer.getvalue())
    assert good.stat().st_size < 20_000
    assert "is a compressed archive" in refused(good)


def test_sizes_that_are_lies(tmp_path: Path, refused: Callable[..., str]) -> None:
    """torch reads a gigabyte behind ten numbers if the pickle says so."""
    path = tmp_path / "a.pt"
    state = {"encoder.layers.0.bias": torch.zeros(10), "b": torch.zeros(5)}
    torch.save(state, path)
    rezip(
        path,
        lambda name, data: (
            data.replace(b"K\x0a", b"J" + struct.pack("<i", 250_000_000)) if name.endswith("data.pkl") else data
        ),
    )
    assert refused(path).endswith("its tensors are larger than the file; it is damaged or was made to mislead")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**12),
        torch.zeros(3).as_strided((1000, 1000), (0, 0)),
        torch.zeros(10).as_strided((5, 5), (1, 1)),
        torch.zeros(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.empty(3, device="meta"),
    ],
    ids=["expanded", "stride 0", "overlapping", "sparse", "csr", "meta"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_what_they_seem(tensor: Tensor, tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.save({**tiny().state_dict(), "encoder.layers.0.bias": tensor}, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").endswith(
        "encoder.layers.0.bias is not a plain tensor; the file is damaged or was made to mislead"
    )


def test_pickle_bombs(tmp_path: Path, refused: Callable[..., str]) -> None:
    """A list of two of the list before, sixty times; and a list in a list, a hundred thousand deep."""
    doubled: Any = ["x"]
    for _ in range(60):
        doubled = [doubled, doubled]
    torch.save(doubled, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").endswith("a.pt holds a list, not a dictionary of tensors; give a checkpoint")
    torch.save({"a": doubled, "b": doubled}, tmp_path / "b.pt")
    assert refused(tmp_path / "b.pt").endswith("holds no tensors by name, only a, b; give a checkpoint of a model")
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    torch.save({"a": torch.zeros(1)}, tmp_path / "c.pt")
    rezip(tmp_path / "c.pt", lambda name, data: deep if name.endswith("data.pkl") else data)
    assert "holds a list" in refused(tmp_path / "c.pt")
