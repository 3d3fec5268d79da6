"""Folders of audio files, good and bad, for the data set tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from data_test_audio import RATE, music


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an audio file below ``tmp_path/music`` and returns its path."""

    def write_file(name: str, audio: np.ndarray | None = None, rate: int = RATE, subtype: str | None = None) -> Path:
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if subtype is None and path.suffix == ".wav":
            subtype = "FLOAT"
        soundfile.write(path, music() if audio is None else audio, rate, subtype=subtype)
        return path

    return write_file
