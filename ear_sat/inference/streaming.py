"""Reconstructs one file: reads, resamples, encodes, decodes, resamples and writes, block by block."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..compute import true_float32
from ..data import AudioFile
from ..models import Autoencoder, reconstruct_blocks
from ..models.reconstruction import join_channels, split_channels
from .files import FileJob
from .settings import Settings
from .source import choose_channels, chosen_channels, read_blocks, readable
from .wave_file import Levels, write_wave


@dataclass
class Result:
    """What became of one file.

    Args:
        job: the file.
        outcome: ``done``, ``skipped`` or ``failed``.
        seconds: of audio.
        elapsed: seconds of work.
        peak_db: sample peak of the reconstruction in dBFS, before any clipping or scaling.
        notes: sentences about it; where it failed, why.
    """

    job: FileJob
    outcome: str = "done"
    seconds: float = 0.0
    elapsed: float = 0.0
    peak_db: float | None = None
    notes: list[str] = field(default_factory=list)


def reconstruct_file(
    model: Autoencoder, job: FileJob, settings: Settings, advance: Callable[[float], None] = lambda _: None
) -> Result:
    """Writes the reconstruction of ``job.source`` to ``job.output``: as long, at the same rate, with as many channels.

    Args:
        model: the autoencoder, in eval mode.
        job: the file.
        settings: the choices.
        advance: called with seconds of audio as they are worked off; they sum to the file's length.

    Raises:
        UnusableFileError: the file cannot be read.
        OSError: the result cannot be written.
        FloatingPointError: the model's output is not finite.
    """
    begin = time.monotonic()
    job.output.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file, by_ffmpeg = stack.enter_context(readable(job.source, job.output.parent))
        channels = chosen_channels(file, settings.channels)
        stack.enter_context(torch.inference_mode())
        stack.enter_context(true_float32())
        original = _Extremes()
        blocks = _progress(original.watched(read_blocks(file)), file, advance)
        audio = _progress(_reconstruct(model, blocks, file, channels, settings), file, advance)
        policy = settings.peak_policy
        levels = write_wave(
            job.output, audio, file.sample_rate, channels, settings.subtype, policy, estimated_frames=file.frames
        )
    notes = ["read by ffmpeg"] if by_ffmpeg else []
    notes += [*_notes_on_input(file, channels, original, model), *_notes_on_peaks(levels, policy)]
    seconds = file.frames / file.sample_rate
    return Result(job, "done", seconds, time.monotonic() - begin, levels.decibels, notes)


def _reconstruct(
    model: Autoencoder, blocks: Iterator[np.ndarray], file: AudioFile, channels: int, settings: Settings
) -> Iterator[np.ndarray]:
    def tensors() -> Iterator[Tensor]:
        for block in blocks:
            chosen = torch.from_numpy(np.ascontiguousarray(choose_channels(block, settings.channels, file.layout)))
            yield split_channels(chosen[None], model.io_channels)

    for audio in reconstruct_blocks(
        model,
        tensors(),
        file.sample_rate,
        chunk_seconds=settings.chunk_seconds,
        batch_size=settings.batch_size,
        attention_seconds=settings.attention_seconds,
        sample=settings.sample,
        seed=settings.seed,
    ):
        yield join_channels(audio, channels)[0].cpu().numpy()


def _progress(blocks: Iterator[np.ndarray], file: AudioFile, advance: Callable[[float], None]) -> Iterator[np.ndarray]:
    """Reports half of the duration of each block: reading and encoding is one half of the work, decoding the other."""
    for block in blocks:
        yield block
        advance(block.shape[-1] / file.sample_rate / 2)


class _Extremes:
    """Least and greatest sample of each channel."""

    def __init__(self) -> None:
        self.low: np.ndarray | float = np.inf
        self.high: np.ndarray | float = -np.inf

    def watched(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self.low, self.high = np.minimum(self.low, block.min(1)), np.maximum(self.high, block.max(1))
            yield block


def _notes_on_input(file: AudioFile, channels: int, original: _Extremes, model: Autoencoder) -> list[str]:
    notes = []
    if channels != file.channels:
        notes.append(f"{file.channels} channels became {channels}")
    if np.array_equal(original.low, original.high):
        notes.append("the input is silent" if not np.any(original.high) else "the input is constant (DC only)")
    if file.sample_rate > model.sample_rate:
        notes.append(
            f"nothing above {model.sample_rate / 2000:g} kHz is left: the model works at {model.sample_rate} Hz"
        )
    return notes


def _notes_on_peaks(levels: Levels, policy: str) -> list[str]:
    if not levels.over:
        return []
    count = f"{levels.over} sample{'s' if levels.over > 1 else ''} above full scale (+{levels.decibels:.2f} dB)"
    action = {"clip": "clipped", "keep": "kept", "scale": f"scaled by {-levels.decibels:.2f} dB"}[policy]
    return [f"{count}, {action}"]
