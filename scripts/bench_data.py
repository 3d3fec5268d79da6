"""The part ``data`` of bench.py: crops per second from whole tracks, the host's SampleDataset against ear_audio."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ear_sat.data import create_dataloader, synthesise_track

SAMPLE_RATE, CROP = 44100, 65536
#: mp3 as libsndfile writes it by default, flac with 16 bits.
FORMATS = ("flac", "mp3")
#: Tracks and names for each: so many items that no epoch ends while the clock runs.
TRACKS, LINKS = 2, 96
#: Of what is synthesised, repeated to the length of a track; several pieces at once, or there would be pauses.
PASSAGE_SECONDS, PIECES = 30.0, 3
BATCH = 4
#: Batches before the clock runs, batches per sample of time, samples of time per repeat.
WARM_UP, BATCHES, TIMES = 1, {"host": 1, "ear": 8}, 3


def run_data(repeats: int, track_seconds: int) -> dict[str, Any]:
    """Seconds per crop of either side for each format, one worker process; sides in turn."""
    results: dict[str, Any] = {}
    for kind in FORMATS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _write_tracks(folder, kind, track_seconds)
            seconds: dict[str, list[float]] = {"host": [], "ear": []}
            for _ in range(repeats):
                for side, times in seconds.items():
                    times += _seconds_per_crop(side, folder)
        results[f"data {kind}"] = {side: {"seconds": times} for side, times in seconds.items()}
    return results


def synthesise(number: int, seconds: int) -> np.ndarray:
    """A track, (frames, 2): a passage and its repetitions."""
    length, first = min(PASSAGE_SECONDS, float(seconds)), number * PIECES
    pieces = [synthesise_track(piece, length, SAMPLE_RATE, seed=0).T for piece in range(first, first + PIECES)]
    passage = np.mean(pieces, axis=0)
    copies = -(-seconds * SAMPLE_RATE // len(passage))
    return np.tile(passage, (copies, 1))[: seconds * SAMPLE_RATE]


def _write_tracks(folder: Path, kind: str, seconds: int) -> None:
    for number in range(TRACKS):
        path = folder / f"{number}.{kind}"
        soundfile.write(path, synthesise(number, seconds), SAMPLE_RATE)
        for link in range(1, LINKS):
            os.link(path, folder / f"{number}-{link}.{kind}")


def _seconds_per_crop(side: str, folder: Path) -> list[float]:
    batches = _batches(side, folder)
    for _ in range(WARM_UP):
        next(batches)
    times = []
    for _ in range(TIMES):
        begin = time.perf_counter()
        for _ in range(BATCHES[side]):
            next(batches)
        times.append((time.perf_counter() - begin) / (BATCHES[side] * BATCH))
    return times


def _batches(side: str, folder: Path) -> Iterator[Any]:
    datasets = [{"id": "music", "path": str(folder)}]
    if side == "ear":
        config: dict[str, Any] = {"dataset_type": "ear_audio", "datasets": datasets}
        return iter(create_dataloader(config, BATCH, CROP, SAMPLE_RATE, num_workers=1))
    from stable_audio_tools.data.dataset import create_dataloader_from_config

    config = {"dataset_type": "audio_dir", "datasets": datasets, "random_crop": True}
    sizes = {"sample_size": CROP, "sample_rate": SAMPLE_RATE}
    return iter(create_dataloader_from_config(config, BATCH, **sizes, num_workers=1))
