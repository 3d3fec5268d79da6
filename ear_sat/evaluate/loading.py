"""A pair of files as two waveforms that metrics can compare: one sample rate, one length, one channel layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from ..data.layouts import mix_channels
from ..data.parts import UnusableFileError
from ..data.reading import read_whole
from ..metrics import offset_samples
from ..metrics.clips import is_silent
from ..resampling import resampler

SAMPLE_RATE = 44100
"""Hz; the rate at which the release measures, and for which the figures of the paper hold."""

MAX_RESAMPLER_TAPS = 1 << 24
"""torchaudio's resampler holds a filter per phase, 64 MB of them here: 44,056 Hz to 44,100 Hz would take 486 MB."""


_resampler = lru_cache(maxsize=8)(resampler)


@dataclass(frozen=True)
class LoadedPair:
    """Two waveforms of one shape (channels, time) at :data:`SAMPLE_RATE`, and what was done to get there.

    Attributes:
        preds, target: estimate and reference.
        offset: detected delay of the estimate in samples, negative where it is early, None where it cannot be told.
        start: sample of the reference file (at :data:`SAMPLE_RATE`) at which ``target`` begins.
        notes: sentences for the report.
    """

    preds: Tensor
    target: Tensor
    offset: int | None
    start: int
    notes: list[str]


def load_pair(reference: Path, estimate: Path, align: bool = False) -> LoadedPair:
    """Reads both files as the release's evaluation does: torchaudio's default resampler, trimmed to the shorter.

    5.1 is mixed down; mono against stereo is copied to both channels. A constant delay of the estimate is detected and
    noted; ``align`` takes it out.

    Raises:
        UnusableFileError: a file cannot be used; the message says which one and why.
        UserError: a file has another rate, and torchaudio does not load.
    """
    notes: list[str] = []
    target = _read("reference", reference, notes)
    preds = _read("estimate", estimate, notes)
    if preds.shape[0] != target.shape[0]:
        mono = "estimate" if preds.shape[0] < target.shape[0] else "reference"
        notes.append(f"the {mono} is mono, the other stereo: mono copied to both channels")
        preds, target = (x.expand(2, -1) for x in (preds, target))
    for name, signal in (("reference", target), ("estimate", preds)):
        if is_silent(signal):
            notes.append(f"the {name} is silent")
    _note_lengths(preds.shape[-1], target.shape[-1], notes)
    offset, confidence = offset_samples(preds, target)
    start = 0
    if offset is None and not is_silent(preds) and not is_silent(target):
        notes.append(f"no offset can be told (confidence {confidence:.2f}): is this the same music?")
    elif offset:
        text = f"the estimate is {abs(offset)} samples ({1000 * abs(offset) / SAMPLE_RATE:.1f} ms) "
        text += "late" if offset > 0 else "early"
        notes.append(f"{text}; corrected" if align else f"{text}; --align corrects it")
        if align:
            preds, start = preds[:, max(0, offset) :], max(0, -offset)
            target = target[:, start:]
    length = min(preds.shape[-1], target.shape[-1])
    if length == 0:
        raise UnusableFileError("reference and estimate have no sample in common")
    return LoadedPair(preds[:, :length].contiguous(), target[:, :length].contiguous(), offset, start, notes)


def _read(name: str, path: Path, notes: list[str]) -> Tensor:
    """A file as (1 | 2, time) at :data:`SAMPLE_RATE`."""
    try:
        audio, header = read_whole(str(path))
        missing = header.frames + header.lost - audio.shape[-1]
        if missing > 0:  # an mp3's header is an estimate
            notes.append(f"the {name} is {missing} samples shorter than its header says")
        bad = audio.size - np.isfinite(audio).sum()
        if bad:
            raise UnusableFileError(f"{bad} of its samples are NaN or infinite")
    except UnusableFileError as error:
        raise UnusableFileError(f"{name} {path.name}: {error}") from error
    if header.channels > 2:
        audio = mix_channels(audio, 2, header.layout)
        kind = "5.1" if header.channels == 6 and "LFE" in header.layout else " ".join(header.layout)
        notes.append(f"the {name} is {kind}: mixed down to stereo")
    waveform = torch.from_numpy(np.ascontiguousarray(audio))
    if header.sample_rate != SAMPLE_RATE:
        notes.append(f"the {name} has {header.sample_rate} Hz: resampled to {SAMPLE_RATE} Hz")
        waveform = _resample(waveform, header.sample_rate, notes)
    return waveform


def _resample(waveform: Tensor, sample_rate: int, notes: list[str]) -> Tensor:
    """By torchaudio with its defaults, a part of the metrics' definition: another one moves the third decimal."""
    common = math.gcd(sample_rate, SAMPLE_RATE)
    if sample_rate // common * (SAMPLE_RATE // common) > MAX_RESAMPLER_TAPS:
        notes.append(f"{sample_rate} Hz is an odd rate, for which torchaudio's resampler is too large: soxr was used")
        resampled = soxr.resample(waveform.T.numpy(), sample_rate, SAMPLE_RATE)
        return torch.from_numpy(np.ascontiguousarray(resampled.T))
    return _resampler(sample_rate, SAMPLE_RATE)(waveform)


def _note_lengths(preds: int, target: int, notes: list[str]) -> None:
    if preds != target:
        difference = abs(preds - target)
        notes.append(
            f"the estimate is {difference} samples ({difference / SAMPLE_RATE:.3f} s) "
            f"{'shorter' if preds < target else 'longer'}: trimmed to {min(preds, target) / SAMPLE_RATE:.2f} s"
        )
