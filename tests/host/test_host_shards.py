"""Training from WebDataset shards, as ``prepare-data --shards`` writes them, with any number of workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from host_test_configs import model_config

pytest.importorskip("pyarrow")

from ear_sat.prepare import ShardSettings, prepare_data

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tracks in a shard, and a tiny model at their rate."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "music").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 3 * 44100, 2))
    for index, audio in enumerate(noise):
        soundfile.write(folder / "music" / f"{index}.flac", audio, 44100)
    prepare_data([folder / "music"], folder / "out", processes=1, shards=ShardSettings(sample_rate=None))
    config = {**model_config(), "sample_rate": 44100}
    config["training"]["demo"] = {"demo_every": 2, "max_demos": 2}
    (folder / "model.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 3, 8])
def test_any_number_of_workers_trains(folder: Path, workers: int) -> None:
    name = f"workers-{workers}"
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--model-config", "model.json", "--name", name]
    command += ["--dataset-config", "out/stage1_shards.json", "--batch-size", "2", "--num-workers", str(workers)]
    command += ["--max-steps", "3", "--accelerator", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    run = folder / "runs" / name
    demos = {path.relative_to(run / "demos").as_posix() for path in (run / "demos").rglob("*.wav")}
    assert demos == {
        f"step-{r}/clip-{i}.{kind}.wav" for r in (1, 2, 3) for i in (0, 1) for kind in ("target", "estimate")
    }
    targets = [soundfile.read(run / "demos" / f"step-{r}" / "clip-0.target.wav")[0] for r in (1, 3)]
    assert np.array_equal(*targets) and np.abs(targets[0]).max() > 0.05  # the same clip all along, and no silence
