"""Weights and folders of audio for the tests of encoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from encoding_test_model import RATE, SIZE, model_config, noise

from ear_sat.models import Autoencoder
from ear_sat.weights import config_metadata, write_weights

collect_ignore = ["conftest.py"]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_ID")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", *slurm):
        monkeypatch.delenv(name, raising=False)


def _write(folder: Path, channels: int) -> Path:
    torch.manual_seed(0)
    config = model_config(channels)
    model = Autoencoder.from_config(config)
    path = folder / f"tiny_{channels}.safetensors"
    write_weights(model.state_dict(), path, metadata=config_metadata(config))
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a stereo model."""
    return _write(tmp_path_factory.mktemp("weights"), 2)


@pytest.fixture(scope="session")
def mono_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("weights"), 1)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an audio file below ``tmp_path/music``."""

    def write_file(name: str, audio: np.ndarray | None = None, rate: int = RATE) -> Path:
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        subtype = "FLOAT" if path.suffix == ".wav" else None
        soundfile.write(path, noise(2 * SIZE) if audio is None else audio, rate, subtype=subtype)
        return path

    return write_file


@pytest.fixture
def music(write: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    """Three files of 2.5, 1 and 0.1 windows, and the dataset config of their folder."""
    write("a.wav", noise(5 * SIZE // 2, seed=1))
    write("sub/b.wav", noise(SIZE, seed=2))
    write("sub/c.wav", noise(SIZE // 10, seed=3))
    return {"dataset_type": "ear_audio", "datasets": [{"id": "music", "path": str(tmp_path / "music")}]}
