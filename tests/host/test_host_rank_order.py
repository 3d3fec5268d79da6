"""A run on two processes that was stopped goes on with the clips and the noise that the undisturbed run has next."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from host_test_configs import RATE, model_config, run_script, same

SCRIPT = Path(__file__).with_name("host_test_rank_order.py")
ROUNDS, SAVED = 7, 4


@pytest.fixture
def folder(tmp_path):
    """Configs, and music of six files with two crops each: an epoch is three rounds on two processes."""
    (tmp_path / "music").mkdir()
    for index in range(6):
        noise = np.random.default_rng(index).normal(0, 0.1, (2 * RATE, 2))
        soundfile.write(tmp_path / "music" / f"{index}.flac", noise, RATE)
    config = model_config()
    config["training"]["phases"] = [{"name": "train", "steps": 100}]
    data = {
        "dataset_type": "ear_audio",
        "datasets": [{"id": "m", "path": str(tmp_path / "music")}],
        "crops_per_file": 2,
    }
    (tmp_path / "model.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "data.json").write_text(json.dumps(data), encoding="utf-8")
    return tmp_path


def notes(folder, name, *flags):
    """(round, checksum) of every batch, on each of the two processes."""
    fixed = (
        f"--batch-size 2 --num-workers 1 --accelerator cpu --devices 2 --max-steps {ROUNDS} --checkpoint-every {SAVED}"
    )
    run_script(SCRIPT, folder / name, *flags, *fixed.split(), cwd=folder)
    files = [folder / f"{name}.{rank}" for rank in (0, 1)]
    return [[tuple(line.split()) for line in file.read_text(encoding="utf-8").splitlines()] for file in files]


@pytest.mark.slow
def test_two_processes_go_on_in_the_order_they_had(folder):
    run = folder / "runs" / "run"
    whole = notes(folder, "whole", "--model-config", "model.json", "--dataset-config", "data.json", "--name", "run")
    assert [[int(number) for number, _ in rank] for rank in whole] == [list(range(ROUNDS))] * 2
    assert not {clips for _, clips in whole[0]} & {clips for _, clips in whole[1]}
    (run / "checkpoints" / "last.ckpt").rename(folder / "undisturbed.ckpt")
    (run / "checkpoints" / f"step-{ROUNDS}.ckpt").unlink()  # a kill before the last round would have left this
    assert notes(folder, "rest", "--resume", str(run)) == [rank[SAVED:] for rank in whole]
    paths = (folder / "undisturbed.ckpt", run / "checkpoints" / "last.ckpt")
    whole, parts = (torch.load(path, weights_only=True) for path in paths)
    assert same(whole["state_dict"], parts["state_dict"]) and same(whole["optimizer_states"], parts["optimizer_states"])
