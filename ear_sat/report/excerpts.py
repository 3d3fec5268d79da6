"""Short excerpts as data for a page, and the gains that make them equally loud."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
import soundfile
import torch

from ..metrics import integrated_loudness_lufs

COMPRESSION = 0.2  # of libsndfile's scale from 0 (best) to 1; variable bit rate, about 180 kbit/s
FADE_SECONDS = 0.005
RATES = (48000, 44100, 32000)  # of MPEG-1 layer III
_BLOCK = 1 << 16  # frames; some versions of libsndfile overflow their stack on long blocks


def mp3_uri(waveform: torch.Tensor, sample_rate: int) -> str:
    """MP3 of (1 | 2, time) as data for an <audio>: the format that every browser plays. Ends are faded by 5 ms.

    >>> mp3_uri(torch.zeros(2, 4410), 44100)[:22]
    'data:audio/mpeg;base64'

    Raises:
        ValueError: a sample rate that MP3 does not have, or another shape.
    """
    if sample_rate not in RATES or waveform.ndim != 2 or waveform.shape[0] not in (1, 2):
        raise ValueError(f"cannot write {tuple(waveform.shape)} at {sample_rate} Hz as MP3")
    samples = _faded(waveform, sample_rate)
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        sample_rate,
        samples.shape[1],
        subtype="MPEG_LAYER_III",
        format="MP3",
        compression_level=COMPRESSION,
        bitrate_mode="VARIABLE",
    ) as file:
        for first in range(0, len(samples), _BLOCK):
            file.write(np.clip(samples[first : first + _BLOCK], -1, 1))
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def flac_uri(waveform: torch.Tensor, sample_rate: int) -> str:
    """The same as lossless FLAC of 16 bits, which every browser plays too, with dither.

    The dither (triangular, ±1 step) is the same for every call, so that versions of one clip do not differ by it.

    >>> flac_uri(torch.zeros(2, 4410), 44100)[:22]
    'data:audio/flac;base64'
    """
    samples = _faded(waveform, sample_rate)
    noise = np.random.default_rng(0).random((2, *samples.shape), np.float32)
    steps = np.clip(np.round(samples * 32767 + noise[0] - noise[1]), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", sample_rate, steps.shape[1], subtype="PCM_16", format="FLAC") as file:
        for first in range(0, len(steps), _BLOCK):
            file.write(steps[first : first + _BLOCK])
    return "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode()


def _faded(waveform: torch.Tensor, sample_rate: int) -> np.ndarray:
    """(channels, time) as samples of shape (time, channels) whose ends are faded."""
    samples = waveform.detach().to("cpu", torch.float32).T.numpy().copy()
    fade = min(round(FADE_SECONDS * sample_rate), len(samples) // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
    samples[:fade] *= ramp
    samples[len(samples) - fade :] *= ramp[::-1]
    return samples


def match_loudness(signals: Iterable[torch.Tensor], sample_rate: int) -> tuple[list[float], list[float]]:
    """Integrated loudness in LUFS of each signal (channels, time), and the gains in dB that make all equally loud."""
    signals = list(signals)
    loudness = [integrated_loudness_lufs(signal, sample_rate) for signal in signals]
    peaks = [20 * math.log10(max(float(signal.abs().max()), 1e-9)) for signal in signals]
    return loudness, matched_gains_db(loudness, peaks)


def matched_gains_db(loudness: Sequence[float], peak_db: Sequence[float]) -> list[float]:
    """Gains in dB that bring all versions of a clip to one loudness without driving any of them into clipping.

    The common loudness is the first version's (the reference's), or as much less as the peaks of the others ask for.

    Args:
        loudness: integrated loudness in LUFS; a version where it is undefined (NaN) keeps gain 0.
        peak_db: peak level in dBFS.

    >>> matched_gains_db([-14.0, -20.0, float("nan")], [-1.0, -3.0, -90.0])
    [-3.0, 3.0, 0.0]
    """
    known = [(lufs, peak) for lufs, peak in zip(loudness, peak_db, strict=True) if math.isfinite(lufs)]
    if not known:
        return [0.0] * len(loudness)
    common = min(known[0][0], *(lufs - max(peak, -200.0) for lufs, peak in known))
    return [common - lufs if math.isfinite(lufs) else 0.0 for lufs in loudness]
