"""The built-in demo set: crops from synthesised music, so that training can be tried without any data."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np

from ..checks import require_number, require_whole
from ..config import check_choice
from ..value_types import Count, Crops, OneOf, Range, Size
from .base import CropDataset, Sample, is_silent
from .synth import synthesise_track

# Track numbers of the held-out split start here, so no held-out track is ever a training track.
#: A track is kept in memory: 0.5 GB of an hour.
MAX_SECONDS = 3600
_FIRST_TRACK = {"train": 0, "held_out": 1_000_000}
_CACHED_TRACKS = 64  # 12 s of stereo at 44.1 kHz are 4 MB
_REDRAWS = 8
_SILENCE_DB = -60.0


class DemoDataset(CropDataset):
    """Random crops from ``tracks`` synthesised stereo tracks; JSON ``dataset_type`` "ear_demo".

    Item ``i`` of epoch ``e`` is a function of (seed, e, i): see :class:`CropDataset`. Tracks contain bars of digital
    silence; a crop that is nothing but silence is redrawn. Each process synthesises a track when it is first needed.

    Args:
        sample_size, sample_rate, channels: given by the program; see :class:`CropDataset`. One channel is (L + R)/2.
        tracks: number of different tracks.
        seconds: length of a track; if shorter than a crop, the crop is zero-padded.
        seed: another seed gives other tracks and other crops.
        crops_per_track: crops taken from each track per epoch.
        split: "train" or "held_out"; the two never share a track.

    >>> audio, info = DemoDataset(1024, 8000, tracks=1, seconds=1.0)[0]
    >>> audio.shape, info["relpath"]
    (torch.Size([2, 1024]), 'train/0')
    """

    def __init__(
        self,
        sample_size: Size,
        sample_rate: Size,
        channels: Size = 2,
        *,
        tracks: Annotated[int, Range(at_least=1, at_most=_FIRST_TRACK["held_out"])] = 24,
        seconds: Annotated[float, Range(above=0, at_most=MAX_SECONDS)] = 12.0,
        seed: Count = 0,
        crops_per_track: Crops = 8,
        split: Annotated[str, OneOf(tuple(_FIRST_TRACK))] = "train",
    ) -> None:
        super().__init__(seed=seed, sample_size=sample_size, sample_rate=sample_rate, channels=channels)
        self.tracks = require_whole("tracks", tracks, at_least=1, at_most=_FIRST_TRACK["held_out"])
        self.crops_per_track = require_whole("crops_per_track", crops_per_track, at_least=1)
        self.seconds = float(require_number("seconds", seconds, above=0, at_most=MAX_SECONDS))
        self.split = check_choice("split", split, _FIRST_TRACK)
        self._cache: dict[int, np.ndarray] = {}

    def items_per_pass(self) -> int:
        return self.tracks * self.crops_per_track

    def track(self, number: int) -> np.ndarray:
        """Track ``number`` of this split in full, float32 (channels, T)."""
        if number not in self._cache:
            audio = synthesise_track(_FIRST_TRACK[self.split] + number, self.seconds, self.sample_rate, self.seed)
            while len(self._cache) >= _CACHED_TRACKS:
                self._cache.pop(next(iter(self._cache)))
            self._cache[number] = audio if self.channels == 2 else audio.mean(axis=0, keepdims=True)
        return self._cache[number]

    def __getitem__(self, index: int) -> Sample:
        began = time.perf_counter()
        index = self.checked_index(index)
        number = index % self.tracks
        audio = self.track(number)
        rng = self.item_rng(index)
        for _ in range(1 + _REDRAWS):
            start = int(rng.integers(0, max(0, audio.shape[-1] - self.sample_size) + 1))
            crop = audio[:, start : start + self.sample_size]
            if not is_silent(crop, _SILENCE_DB):
                break
        name = f"{self.split}/{number}"
        sample = self.sample(crop, path=f"ear_demo://{name}", relpath=name, start=start, total=audio.shape[-1])
        sample[1]["load_time"] = time.perf_counter() - began
        return sample
