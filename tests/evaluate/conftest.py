"""Folders of short pairs, and the command called in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from ear_sat.cli.main import main

RATE = 44100
DATA = Path(__file__).parents[1] / "data" / "metrics"


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    return json.loads((DATA / "metrics_expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def golden_audio() -> tuple[np.ndarray, np.ndarray]:
    """Estimate and reference of the golden synthetic pair, (66150, 2) each."""
    tensors = load_file(DATA / "metrics_synthetic.safetensors")
    return tensors["estimate"].T, tensors["reference"].T


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Band-limited stereo noise of a seed, (samples, 2), peak 0.5."""

    def make(seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
        rng = np.random.default_rng(seed)
        samples = rng.standard_normal((int(seconds * rate), 2))
        samples[:, 1] = 0.5 * samples[:, 0] + 0.5 * samples[:, 1]
        smooth = np.apply_along_axis(lambda x: np.convolve(x, np.hanning(9), "same"), 0, samples)
        return (0.5 * smooth / np.abs(smooth).max()).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Writes (samples, channels) as an audio file and makes its folder; float samples where the format has them."""

    def write_file(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
        return path

    return write_file


@pytest.fixture
def evaluate_command() -> Callable[..., int]:
    """``ear-sat evaluate`` with these arguments, in one process."""

    def run(*arguments: object) -> int:
        return main(["evaluate", "--processes", "1", *map(str, arguments)])

    return run
