"""Dataset configs of both stages, ready for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..files import write_text
from .rules import STAGES


def manifest_config(manifest: Path, stage: str, tracks: int) -> dict[str, Any]:
    """A config of type ``ear_audio`` for the tracks of a manifest that are fit for ``stage``.

    Args:
        manifest: its path.
        stage: ``"stage1"`` or ``"stage2"``.
        tracks: how many those are, members of shards left out; a single one cannot be split into training and
            held-out music.
    """
    return {
        "dataset_type": "ear_audio",
        "datasets": [{"id": stage, "manifest": str(manifest), "decisions": list(STAGES[stage])}],
        "seed": 0,
        "random_crop": True,
        "crops_per_file": 8,
        "silence_threshold_db": -60,
        "max_redraws": 8,
        "split": "train" if tracks > 1 else "all",
        "held_out_share": 0.1,
    }


def shard_config(folders: dict[str, Path], stage: str) -> dict[str, Any]:
    """A config of the host's type ``wds``.

    Args:
        folders: of shards, by decision.
        stage: ``"stage1"`` or ``"stage2"``.
    """
    return {
        "dataset_type": "wds",
        "datasets": [{"id": name, "path": str(folders[name])} for name in STAGES[stage] if name in folders],
        "random_crop": True,
        "epoch_steps": 2000,
        "resampled_shards": True,
    }


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Writes a config as JSON, atomically."""
    write_text(path, json.dumps(config, indent=2) + "\n")
