"""Preparing the data of a test, and reading the manifest again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ear_sat.prepare import Preparation, prepare_data


@pytest.fixture
def write() -> Callable[..., Path]:
    """Writes audio (frames, channels), by default as 24-bit in the format of the path's suffix; makes its folder."""

    def write_audio(path: Path, audio: np.ndarray, rate: int = 44100, **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".wav", ".flac", ".aiff"):
            options = {"subtype": "PCM_24"} | options
        soundfile.write(path, audio, rate, **options)
        return path

    return write_audio


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Preparation]:
    """:func:`prepare_data` in this process, into ``tmp_path / "out"`` unless told otherwise."""
    pytest.importorskip("pyarrow")

    def run(*sources: Path, out: Path | None = None, **options: Any) -> Preparation:
        return prepare_data(sources, out or tmp_path / "out", **({"processes": 1} | options))

    return run


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """The rows of the Parquet manifest in a folder, by the names of their files."""

    def read(out: Path | None = None) -> dict[str, dict[str, Any]]:
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = parquet.read_table((out or tmp_path / "out") / "manifest.parquet").to_pylist()
        return {row["path"].replace("::", "/").rsplit("/", 1)[-1]: row for row in rows}

    return read
