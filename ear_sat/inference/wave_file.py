"""Writes a wav file from blocks, with a choice for samples above full scale."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..data.handle import native_path
from ..data.stream import reason_of
from ..files import atomic_path, unwritten
from .settings import SUBTYPES

_BLOCK = 1 << 16
#: Bytes that a plain wav file can count, less room for its headers; larger ones are RF64 (EBU Tech 3306).
_WAV_LIMIT = (1 << 32) - (1 << 16)


@dataclass
class Levels:
    """Sample peak of the audio before any clipping or scaling, and how many samples exceed full scale."""

    peak: float = 0.0
    over: int = 0

    def measured(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Hands the blocks on and measures them."""
        for block in blocks:
            magnitude = np.abs(block)
            self.peak = max(self.peak, float(magnitude.max(initial=0.0)))
            self.over += int(np.count_nonzero(magnitude > 1))
            yield block

    @property
    def decibels(self) -> float:
        """The peak in dBFS; −inf for silence."""
        return 20 * math.log10(self.peak) if self.peak > 0 else -math.inf


def write_wave(
    path: Path,
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    channels: int,
    subtype: str = "pcm24",
    peaks: str = "clip",
    *,
    estimated_frames: int = 0,
) -> Levels:
    """Writes ``path`` atomically.

    Args:
        path: a .wav file; its folder exists.
        blocks: float32 (channels, frames) each.
        sample_rate: Hz.
        channels: number of channels.
        subtype, peaks: see :class:`ear_sat.inference.Settings`. To scale, the audio is kept in an unnamed file beside
            ``path`` until its peak is known.
        estimated_frames: decides between wav and RF64 for more than 4 GB.

    Raises:
        OSError: the file cannot be written.
        FloatingPointError: the blocks hold samples that are not finite.
    """
    levels = Levels()
    size = estimated_frames * channels * (4 if subtype == "float" else 3)
    container = "WAV" if size < _WAV_LIMIT else "RF64"
    with atomic_path(path) as temporary:
        audio: Iterable[np.ndarray] = levels.measured(_finite(blocks))
        if peaks != "scale":
            bounded = (block if peaks == "keep" else block.clip(-1, 1) for block in audio)
            _write(temporary, bounded, sample_rate, channels, subtype, container)
            return levels
        with tempfile.TemporaryFile(dir=path.parent) as spool:
            for block in audio:
                spool.write(np.ascontiguousarray(block.T, np.float32).tobytes())
            spool.seek(0)
            gain = np.float32(1 / max(1.0, levels.peak))
            scaled = (block * gain for block in _read(spool, channels))
            _write(temporary, (block.clip(-1, 1) for block in scaled), sample_rate, channels, subtype, container)
    return levels


def _finite(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        if not np.isfinite(block).all():
            raise FloatingPointError(
                "the model's output holds NaN or infinite samples; use --precision 32 or other weights"
            )
        yield block


def _read(spool: Any, channels: int) -> Iterator[np.ndarray]:
    while data := spool.read(_BLOCK * channels * 4):
        yield np.frombuffer(data, np.float32).reshape(-1, channels).T


def _write(
    path: Path, blocks: Iterable[np.ndarray], sample_rate: int, channels: int, subtype: str, container: str
) -> None:
    frames = 0
    try:
        name, kind = native_path(path), SUBTYPES[subtype]
        with soundfile.SoundFile(name, "w", sample_rate, channels, kind, format=container) as file:
            for block in blocks:
                _write_block(file, block)
                frames += block.shape[1]
    except soundfile.SoundFileError as error:
        raise unwritten(path, reason_of(error)) from error
    # libsndfile does not always notice that a disk is full.
    if soundfile.info(name).frames != frames:
        raise unwritten(path, "not all of it was written")


def _write_block(file: soundfile.SoundFile, block: np.ndarray) -> None:
    try:
        file.write(np.ascontiguousarray(block.T))
    except AssertionError as error:  # soundfile asserts that all frames were written
        raise unwritten(Path(os.fsdecode(file.name)), "not all of it was written") from error
