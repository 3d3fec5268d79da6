"""A plan that trains in seconds, and short tracks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 44100
SMALL = {
    "sample_size": 4096,
    **{f"model.{part}.config.channels": 4 for part in ("encoder", "decoder")},
    **{f"model.{part}.config.c_mults": [1, 2] for part in ("encoder", "decoder")},
    **{f"model.{part}.config.strides": [4, 8] for part in ("encoder", "decoder")},
    "model.encoder.config.latent_dim": 8,
    "model.decoder.config.latent_dim": 4,
    "model.latent_dim": 4,
    "model.downsampling_ratio": 32,
    **{f"training.loss_configs.{name}.config.windows": [512, 64] for name in ("magnitude", "correlation")},
    "training.loss_configs.phase_derivative.config.windows": [512, 64],
    "training.loss_configs.discriminator.config": {"filters": 2, "windows": [512], "channels": "lr"},
    "training.phases.0.lr_warmup_steps": 0,
}


@pytest.fixture
def music(tmp_path: Path) -> dict[str, Path]:
    """Folders of tracks: train, development, test."""
    folders = {}
    for number, name in enumerate(("train", "development", "test")):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for track in range(2):
            rng = np.random.default_rng(10 * number + track)
            samples = np.apply_along_axis(np.convolve, 0, rng.standard_normal((RATE, 2)), np.hanning(9), "same")
            soundfile.write(folders[name] / f"{'ab'[track]}.wav", 0.1 * samples, RATE, "FLOAT")
    return folders


@pytest.fixture
def write_plan(tmp_path: Path, music: dict[str, Path]) -> Callable[..., Path]:
    """Writes a plan of two variants, with changes at its top, and returns its path."""

    def write(name: str = "plan", **changes: Any) -> Path:
        plan = {
            "title": "A small plan",
            "base": "ear_vae_x64",
            "set": SMALL,
            "rounds": 3,
            "batch_size": 2,
            "seeds": [1, 2],
            "flags": ["--num-workers", "0", "--accelerator", "cpu"],
            "train": str(music["train"]),
            "tracks": {name: str(music[name]) for name in ("development", "test")},
            "variants": [
                {"name": "base", "about": "as it is"},
                {"name": "plain", "unset": ["training.loss_configs.correlation"]},
            ],
            **changes,
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(plan), encoding="utf-8")
        return path

    return write
