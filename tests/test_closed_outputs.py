"""Commands do their work whether or not anyone reads what they print: ``| head``, a full disk behind ``>``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ear_sat.models import Autoencoder
from ear_sat.weights import config_metadata, write_weights

ROOT = Path(__file__).parents[1]
SIZES = {"channels": 4, "c_mults": [1, 2], "strides": [4, 8]}
CONFIG = {
    "model_type": "autoencoder",
    "sample_rate": 44100,
    "model": {
        "encoder": {"type": "ear_encoder", "config": {"in_channels": 2, "latent_dim": 64, **SIZES}},
        "decoder": {"type": "ear_decoder", "config": {"out_channels": 2, "latent_dim": 32, **SIZES}},
        "bottleneck": {"type": "ear_vae", "config": {}},
        "latent_dim": 32,
        "downsampling_ratio": 32,
        "io_channels": 2,
    },
}
ENCODING = ["--weights", "w.safetensors", "--data", "music", "--sample-size", "65536", "--device", "cpu"]
#: The command, and what it has written.
COMMANDS: dict[str, tuple[list[str], str]] = {
    "help": (["train", "--help"], ""),
    "list": (["config", "--list"], ""),
    "config": (["config", "ear_vae_mini"], ""),
    "inspect": (["inspect", "w.safetensors"], ""),
    "export": (["export", "w.safetensors", "a.ckpt"], "a.ckpt"),
    "latent-stats": (["latent-stats", *ENCODING, "--out", "out"], "out/latent_stats.png"),
    "pre-encode": (["pre-encode", *ENCODING, "--out", "out"], "out/dataset_config.json"),
    "reconstruct": (
        ["reconstruct", "music", "--weights", "w.safetensors", "--out", "out", "--device", "cpu"],
        "out/a.wav",
    ),
    "evaluate": (
        ["evaluate", "--reference", "music", "--estimate", "a=music", "--out", "out", "--processes", "1"],
        "out/report.html",
    ),
    "prepare-data": (["prepare-data", "music", "--out", "out", "--processes", "1"], "out/summary.md"),
}
SLOW = [pytest.param(name, marks=[] if name == "list" else pytest.mark.slow) for name in COMMANDS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and a clip of music."""
    folder = tmp_path_factory.mktemp("closed")
    weights = Autoencoder.from_config(CONFIG).state_dict()
    write_weights(weights, folder / "w.safetensors", metadata=config_metadata(CONFIG))
    (folder / "music").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, (2 * 44100, 2))
    soundfile.write(folder / "music" / "a.wav", noise, 44100)
    return folder


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("name", SLOW)
def test_nobody_reads(name: str, unbuffered: str, folder: Path, tmp_path: Path) -> None:
    arguments, written = COMMANDS[name]
    (tmp_path / "music").symlink_to(folder / "music")
    (tmp_path / "w.safetensors").symlink_to(folder / "w.safetensors")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "ear_sat", *arguments]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert not written or (tmp_path / written).exists()
