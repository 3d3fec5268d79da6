"""Embeddings on disk: whatever a file has become, it is read as it was, or refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ear_sat.errors import UserError
from ear_sat.evaluate.embeddings import read_about, read_embeddings, stored_embeddings

ABOUT = {"model": "vggish", "path": "a.wav", "versions": {"torch": "2"}, "made": 1.5}


def write(file: Path, about: Any = ABOUT) -> Path:
    with file.open("wb") as stream:
        np.savez(stream, embeddings=np.arange(6.0).reshape(3, 2), about=np.bytes_(json.dumps(about).encode()))
    return file


def test_a_file_says_of_what_it_is(tmp_path: Path) -> None:
    file = write(tmp_path / "a.npz")
    write(tmp_path / "b.npz", {**ABOUT, "made": 0.5})  # of the same audio, earlier
    assert read_about(file) == ABOUT and stored_embeddings(tmp_path) == {("vggish", "a.wav"): file}
    assert np.array_equal(read_embeddings(file), [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    "about",
    [[], 3, {}, *({key: v for key, v in ABOUT.items() if key != gone} for gone in ABOUT), {**ABOUT, "made": "x"}],
)
def test_a_file_that_does_not_say_it(tmp_path: Path, about: Any) -> None:
    with pytest.raises(UserError, match=r"cannot read the embeddings in .*a\.npz: .*; copy it again, or delete it"):
        read_about(write(tmp_path / "a.npz", about))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    for read in (read_about, read_embeddings):
        with pytest.raises(UserError, match="cannot read the embeddings in"):
            read((tmp_path / "a.npy").rename(tmp_path / "a.npz"))
        (tmp_path / "a.npz").rename(tmp_path / "a.npy")


def test_flipped_bits(tmp_path: Path) -> None:
    file = write(tmp_path / "a.npz")
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for place in rng.permutation(8 * len(whole))[:1500]:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        file.write_bytes(data)
        for read in (read_about, read_embeddings):
            try:
                read(file)
            except UserError:
                refused += 1
    assert refused > 500
