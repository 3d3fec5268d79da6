"""Reads audio files for every command: what is in them, crops of them, and all of them."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import soxr

from .containers import locate
from .finding import regular_file
from .handle import Handle
from .layouts import Layout, can_be_mixed, mix_channels
from .mp3_cuts import cut_mp3
from .parts import UnusableFileError
from .seeking import decoding_start
from .stream import FAILURES, AudioFile, Stream, reason_of

_BLOCK = 1 << 18  # frames
_MOST_CHANNELS = 8  # of 7.1
_CONTEXT_SECONDS = 0.05  # read either side of a crop to be resampled: many times the resampler's filter


def open_header(path: str, mixed: bool = True) -> AudioFile:
    """What is in the file at ``path``.

    Args:
        path: of the file.
        mixed: whether its channels have to be such that stereo can be made of them.

    Raises:
        UnusableFileError: not readable, of zero length, truncated, or with channels that cannot be mixed.
    """
    try:
        found = locate(path)
    except FAILURES as error:
        raise UnusableFileError(f"not readable as audio ({reason_of(error)})") from error
    lost = found.promised - found.frames
    header = AudioFile(path, found.frames, found.sample_rate, found.channels, found.layout, lost)
    if header.frames < 1:
        raise UnusableFileError("it holds no samples")
    if mixed:
        require_mixable(header.channels, header.layout)
    replace(header, frames=found.promised).require_end_at(header.frames)
    return header


def require_mixable(channels: int, layout: Layout) -> None:
    """Raises :class:`UnusableFileError` if stereo cannot be made of such channels."""
    if not layout:
        raise UnusableFileError(
            f"it has {channels} channels and does not say where they belong; mono, stereo and 5.1 are supported, and "
            "other layouts up to 7.1 in files that name them"
        )
    if not can_be_mixed(layout):
        raise UnusableFileError(f"its channels ({' '.join(layout)}) have no rule for mixing; convert it to stereo")


def check_usable(file: AudioFile) -> None:
    """Raises :class:`UnusableFileError` for no samples, or more channels than any layout has."""
    if file.frames < 1:
        raise UnusableFileError("it holds no samples")
    if not 1 <= file.channels <= _MOST_CHANNELS:
        raise UnusableFileError(f"it has {file.channels} channels; mono, stereo and surround up to 7.1 are supported")


def read_frames(file: AudioFile, start: int, frames: int, channels: int | None = None) -> np.ndarray:
    """Frames ``start`` … ``start + frames`` as float32 (n, channels), n less only where the file ends.

    Equal, bit for bit, to the slice of the file decoded in one call. Only these frames are decoded, with as many before
    them as the format needs (:mod:`.mp3_cuts`, :mod:`.seeking`); where it cannot seek, all is decoded up to them. The
    file is opened for each call: kept open, a flac crop took 1.6 ms instead of 1.8, and mp3 would differ in last bits.

    Args:
        file: from :func:`open_header` or a manifest.
        start, frames: in samples per channel.
        channels: 1 or 2 mixes to that many; by default they come in the order of wav.

    Raises:
        UnusableFileError: a read error, a changed format, channels that cannot be mixed, or the file ends before its
            header says.
    """
    expected = max(0, min(frames, file.frames - start))
    try:
        state = regular_file(file.path)
        with Handle(file.path) as handle:
            if (handle.samplerate, handle.channels) != (file.sample_rate, file.channels):
                raise UnusableFileError("its sample rate or channel count changed since the data set was opened")
            layout = handle.layout
            # Nearly always libsndfile finds in the file what is in it.
            audio = _seek_and_read(handle, state, start, expected, file.frames)
        if len(audio) == 0 < expected:
            audio = _read_parts(file, state, start, frames)
    except FAILURES as error:
        raise UnusableFileError(f"read error ({reason_of(error)})") from error
    if expected - len(audio) > file.tolerance or len(audio) == 0:
        raise UnusableFileError(
            f"truncated: it ends at frame {start + len(audio)}, but its header promises {file.frames}"
        )
    if channels is None or audio.shape[1] == channels:
        return audio
    require_mixable(file.channels, layout)
    return mix_channels(audio.T, channels, layout).T


def _read_parts(file: AudioFile, state: os.stat_result, start: int, frames: int) -> np.ndarray:
    """The frames from whichever parts of the file they lie in; a part that cannot seek is decoded up to them."""
    pieces, begin, end = [np.zeros((0, file.channels), np.float32)], 0, start + frames
    for part in locate(file.path).parts:
        length = part.frames or 0
        first, count = max(0, start - begin), min(end - begin, length) - max(0, start - begin)
        begin += length
        if count <= 0:
            continue
        with Handle(file.path, part) as handle:
            audio = _seek_and_read(handle, state, first, count, length)
        if len(audio) == 0:
            with Handle(file.path, part) as handle:
                handle.skip(first)
                audio = handle.take(count)
        pieces.append(audio)
    return np.concatenate(pieces)


def _seek_and_read(handle: Handle, state: os.stat_result, start: int, frames: int, total: int) -> np.ndarray:
    """The frames from a newly opened part of ``total`` frames; none where it cannot seek or has another length."""
    nothing = np.zeros((0, handle.channels), np.float32)
    piece = None
    if handle.subtype == "MPEG_LAYER_III" and isinstance(handle.source, str):
        piece = cut_mp3(handle.source, state, handle.part, start, frames, total)
    try:
        if piece is not None:
            with Handle(piece[0]) as cut:
                cut.skip(piece[1])
                audio = cut.take(frames)
            if len(audio) == frames:
                return audio
        if handle.frames != total and handle.part.frames is None:
            return nothing
        first = decoding_start(handle, start)
        handle.seek(first)
        handle.skip(start - first)
        return handle.take(frames)
    except (RuntimeError, ValueError):
        return nothing


def read_crop(file: AudioFile, start: int, size: int, sample_rate: int, channels: int | None = None) -> np.ndarray:
    """Up to ``size`` samples from ``start`` on, both counted at ``sample_rate``; float32 (channels, n ≤ size).

    A resampled crop equals the same slice of the resampled file (to about −100 dB): it is cut out of a little more.
    Samples that are not finite come back as such. For ``channels`` see :func:`read_frames`.
    """
    if sample_rate == file.sample_rate:
        return read_frames(file, start, size, channels).T
    common = math.gcd(sample_rate, file.sample_rate)
    ours, theirs = sample_rate // common, file.sample_rate // common
    context = math.ceil(_CONTEXT_SECONDS * sample_rate)
    # Every ours-th of our samples falls on one of theirs: begin there, so that the resampler's grid is the file's.
    first = max(0, start - context) // ours
    last = math.ceil((start + size + context) / ours)
    fewer = channels if channels is not None and channels < file.channels else None  # mixed before, there is less to do
    audio = read_frames(file, first * theirs, min((last - first) * theirs, file.frames - first * theirs), fewer)
    if not np.isfinite(audio).all():
        return np.full((audio.shape[1], min(size, file.length_at(sample_rate) - start)), np.nan, np.float32)
    resampled = soxr.resample(audio, file.sample_rate, sample_rate)
    offset = start - first * ours
    crop = np.asarray(resampled[offset : offset + size].T, np.float32)
    return crop if channels is None else mix_channels(crop, channels)


def read_whole(path: str) -> tuple[np.ndarray, AudioFile]:
    """All of a file, float32 (channels, frames), and what it is; takes no more memory than what is really there.

    Raises:
        UnusableFileError: see :func:`open_header` and :meth:`.stream.Stream.blocks`.
    """
    header = open_header(path)
    with Stream(path) as stream:
        return np.concatenate(list(stream.blocks(_BLOCK))).T, header
