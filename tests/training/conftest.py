"""A folder with the configs of a training of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_test_runs import ROOT

DATA = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The demo config, narrowed, with both phases within four rounds."""
    config = json.loads((ROOT / "model_configs" / "ear_vae_mini.json").read_text(encoding="utf-8"))
    config["sample_size"] = 8192
    for part in ("encoder", "decoder"):
        config["model"][part]["config"].update(channels=2)
    training = config["training"]
    training["loss_configs"]["discriminator"]["config"].update(filters=2, windows=[256, 128])
    training["phases"][0].update(steps=2, lr_warmup_steps=1, lr_milestones=[])
    training["phases"][1].update(steps=2)
    training.update(demo={"demo_every": 4, "max_demos": 1}, log_every=1)
    (tmp_path / "model.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "data.json").write_text(json.dumps(DATA), encoding="utf-8")
    return tmp_path
