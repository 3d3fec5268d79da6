"""The host's loaders take as many workers as shared memory carries, and hand batches over where errors show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from stable_audio_tools.data.dataset import create_dataloader_from_config

from ear_sat.data.shared_memory import InSharedMemory
from ear_sat.host.compat import settled_workers

SIZES = {"batch_size": 4, "sample_size": 65536, "sample_rate": 44100, "audio_channels": 2, "num_workers": 8}
BATCH = 4 * 3 * 65536 * 4


def test_audio_counts_with_its_padding_masks() -> None:
    for kind in ("audio_dir", "wds"):
        found = [settled_workers({"dataset_type": kind}, **SIZES, free=n * BATCH) for n in (0, 3, 4, 9, 18)]
        assert found == [0, 0, 1, 3, 8]


def test_latents_count_as_their_files(tmp_path: Path) -> None:
    (tmp_path / "latents" / "0").mkdir(parents=True)
    np.save(tmp_path / "latents" / "0" / "a.npy", np.zeros((64, 1024), np.float32))
    size = 4 * (tmp_path / "latents" / "0" / "a.npy").stat().st_size
    for path in (str(tmp_path / "latents"), [str(tmp_path / "latents")]):
        config = {"dataset_type": "pre_encoded", "datasets": [{"id": "a", "path": path}]}
        assert [settled_workers(config, **SIZES, free=n * size) for n in (3, 4, 18)] == [0, 1, 8]
    for wrong in ({}, {"datasets": []}, {"datasets": [{"path": 3}]}):  # the host says what is wrong
        assert settled_workers({"dataset_type": "pre_encoded", **wrong}, **SIZES, free=10**9) == 8


@pytest.mark.parametrize("workers", [0, 1])
def test_the_hosts_batches_come_through(workers: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((4096, 2), 0.25), 8000)
    config = {"dataset_type": "audio_dir", "datasets": [{"id": "a", "path": str(tmp_path)}], "random_crop": False}
    loader = create_dataloader_from_config(config, 1, 2048, 8000, 2, num_workers=workers)
    assert isinstance(loader.collate_fn, InSharedMemory) and loader.num_workers == workers
    ((audio, infos),) = list(loader)
    assert audio.shape == (1, 2, 2048) and bool((audio.abs() > 0.2).all())
    mask = infos[0]["padding_mask"]
    assert sum(mask[0] if isinstance(mask, list) else mask) == 2048  # 0.0.20 has it in a list
