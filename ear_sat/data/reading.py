"""Reads crops of audio files: opens the header once, then seeks to each crop, resamples it and mixes its channels."""

from __future__ import annotations

import io
import math
import mmap
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .mp3 import cut_mp3, with_length_tag
from .seeking import decoding_start

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif")
#: Of audio that data sets do not look for; most of them need ffmpeg.
OTHER_SUFFIXES = (
    *(".aac", ".ac3", ".aifc", ".alac", ".amr", ".ape", ".au", ".caf", ".dff", ".dsf", ".dts", ".eac3", ".m4a", ".m4b"),
    *(".mka", ".mp2", ".mp4", ".mpc", ".oga", ".ra", ".rf64", ".spx", ".tak", ".tta", ".w64", ".weba", ".webm", ".wma"),
    ".wv",
)

_BLOCK = 1 << 18  # frames
_UNKNOWN_LENGTH = 1 << 40  # libsndfile reports about 2^63 frames where a streamed file's header gives none
# What libsndfile notes where a wav, aiff or rf64 file is shorter than its header says; it then corrects the length.
_SHORT_CHUNK = re.compile(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_SHORT_RF64 = re.compile(r"Calculated frame count \d+ does not match value from 'ds64' chunk of (\d+)")
_STREAMED_SIZE = 0x7FFF0000  # bytes; writers to a pipe put 0x7FFFFFFF or 0xFFFFFFFF, or a little less
_CONTEXT_SECONDS = 0.05  # read either side of a crop to be resampled: many times the resampler's filter
# ITU-R BS.775-3, annex 4, table 2: 3/2 to 2/0, channel order L R C LFE Ls Rs (the LFE is dropped).
_DOWNMIX_51 = np.array([[1, 0, 0.5**0.5, 0, 0.5**0.5, 0], [0, 1, 0.5**0.5, 0, 0, 0.5**0.5]], np.float32)


class UnusableFileError(Exception):
    """The file cannot be used; the message is the reason, without the path."""


@dataclass(frozen=True)
class AudioFile:
    """A file and what its header says. ``frames`` counts samples per channel at ``sample_rate`` Hz."""

    path: str
    frames: int
    sample_rate: int
    channels: int

    @property
    def tolerance(self) -> int:
        """Frames that may be missing at the end: an mp3's length is an estimate. What lacks more is truncated."""
        return max(self.sample_rate // 10, self.frames // 100)

    def require_end_at(self, frame: int) -> None:
        """Raises :class:`UnusableFileError` if the audio that ends at ``frame`` is truncated."""
        if self.frames - frame > self.tolerance or frame == 0:
            raise UnusableFileError(f"truncated: it ends at frame {frame}, but its header promises {self.frames}")

    def length_at(self, sample_rate: int) -> int:
        """Number of samples per channel after resampling to ``sample_rate``."""
        return self.frames if sample_rate == self.sample_rate else self.frames * sample_rate // self.sample_rate


def find_audio_files(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[str]:
    """Paths of the files below ``folder`` with such suffixes, sorted; hidden ones are skipped, links are followed."""
    wanted = tuple(suffixes)
    return sorted(str(Path(path)) for path in walk_files(folder) if path.lower().endswith(wanted))


def walk_files(folder: str | Path, without: Path | None = None) -> Iterator[str]:
    """Paths of the files below ``folder``, in no particular order; hidden ones are skipped, links are followed.

    What cannot be looked at for want of permission is as good as absent.

    Args:
        folder: where to begin.
        without: a folder that is left out.
    """
    waiting = [os.fspath(folder)]
    seen = set() if without is None else {os.path.realpath(without)}
    while waiting:
        here = waiting.pop()
        if (real := os.path.realpath(here)) in seen:  # a link to a folder above would go round for ever
            continue
        seen.add(real)
        folders = []
        with suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(OSError):  # a link to itself or into a folder without permission must not hide the others
                    if entry.is_dir():
                        folders.append(entry.path)
                    elif entry.is_file():
                        yield entry.path
        waiting += sorted(folders, reverse=True)  # the same way round every time, wherever links lead


def reason_of(error: Exception) -> str:
    """An exception's message without the path that OSError and soundfile put into it."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error) or repr(error)
    reason = str(text).removeprefix("Error : ").strip().rstrip(".")
    if "embedded null" in reason:  # a path with a zero byte; Python 3.13 has other words for it than its predecessors
        return "embedded null byte"
    # What libsndfile says of a file that is there where its mp3 decoder finds no frame.
    return "Format not recognised" if reason.startswith("File does not exist or is not a regular file") else reason


class Stream(soundfile.SoundFile):
    """A file that is read on from where it was.

    ``SoundFile.read`` ends with a seek to where it is already: flac decodes a block again, mp3 decoders start anew.
    """

    def seekable(self) -> bool:
        return False


def with_length(source: str | io.BytesIO) -> str | io.BytesIO:
    """What to open with libsndfile for a file: the same, or for an mp3 that does not tell its length one that does.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(source, io.BytesIO):
        tagged = with_length_tag(source.getvalue())
    elif Path(source).stat().st_size == 0:  # which cannot be mapped
        return source
    else:
        with Path(source).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            tagged = with_length_tag(data)
    return source if tagged is None else io.BytesIO(tagged)


def _skip(file: soundfile.SoundFile, frames: int) -> int:
    """Decodes and drops up to ``frames`` frames; returns how many there were."""
    done = 0
    while done < frames:
        got = len(file.read(min(_BLOCK, frames - done), dtype="float32", always_2d=True))
        done += got
        if got == 0:
            break
    return done


def open_header(path: str, channels: Collection[int] = (1, 2, 6)) -> AudioFile:
    """What the header of ``path`` says; a length that it does not know is counted by decoding.

    Raises:
        UnusableFileError: not readable, of zero length, truncated, or with a number of channels that is not in
            ``channels``.
    """
    try:
        if Path(path).stat().st_size == 0:
            raise UnusableFileError("the file is empty (0 bytes)")
        with Stream(with_length(path)) as file:
            promised = promised_frames(file)
            frames = _skip(file, _UNKNOWN_LENGTH) if promised is None else file.frames
            header = AudioFile(path, frames, file.samplerate, file.channels)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise UnusableFileError(f"not readable as audio ({reason_of(error)})") from error
    check_usable(header, channels)
    if promised is not None:
        replace(header, frames=promised).require_end_at(frames)
    return header


def promised_frames(file: soundfile.SoundFile) -> int | None:
    """Frames that the header promises, more than ``file.frames`` where the file was cut; None if it does not say."""
    notes = file.extra_info
    if (short := _SHORT_CHUNK.search(notes)) and 0 < int(short[2]) < int(short[1]) < _STREAMED_SIZE:
        return int(file.frames) * int(short[1]) // int(short[2])
    if short := _SHORT_RF64.search(notes):
        return int(short[1])
    return int(file.frames) if 0 <= file.frames < _UNKNOWN_LENGTH else None


def check_usable(file: AudioFile, channels: Collection[int] = (1, 2, 6)) -> None:
    """Raises :class:`UnusableFileError` for no samples or a number of channels that is not in ``channels``."""
    if file.frames < 1:
        raise UnusableFileError("it holds no samples")
    if file.channels not in channels:
        raise UnusableFileError(f"it has {file.channels} channels; mono, stereo and 5.1 are supported")


def read_frames(file: AudioFile, start: int, frames: int) -> np.ndarray:
    """Frames ``start`` … ``start + frames`` as float32 (n, channels), n less only where the file ends.

    Equal, bit for bit, to the slice of the file decoded in one call. Only these frames are decoded, with as many before
    them as the format needs (:mod:`.mp3`, :mod:`.seeking`); where it cannot seek, the file is decoded up to them. The
    file is opened for each call: kept open, a flac crop took 1.6 ms instead of 1.8, and mp3 would differ in last bits.

    Raises:
        UnusableFileError: a read error, a changed format, or the file ends before its header says.
    """
    expected = min(frames, file.frames - start)
    try:
        Path(file.path).stat()  # its message is better than libsndfile's "System error"
        with Stream(file.path) as handle:
            if (handle.samplerate, handle.channels) != (file.sample_rate, file.channels):
                raise UnusableFileError("its sample rate or channel count changed since the data set was opened")
            audio = _read_from(handle, start, max(0, expected), file.frames)
        if len(audio) == 0 < expected:  # cannot seek, or cannot seek there: decode from the beginning
            with Stream(with_length(file.path)) as handle:
                _skip(handle, start)
                audio = handle.read(frames, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise UnusableFileError(f"read error ({reason_of(error)})") from error
    if expected - len(audio) > file.tolerance or len(audio) == 0:
        raise UnusableFileError(
            f"truncated: it ends at frame {start + len(audio)}, but its header promises {file.frames}"
        )
    return audio


def _read_from(handle: Stream, start: int, frames: int, total: int) -> np.ndarray:
    """The frames from a newly opened file of ``total`` frames; none where it cannot seek."""
    piece = None
    if handle.subtype == "MPEG_LAYER_III":
        piece = cut_mp3(Path(handle.name), start, frames, handle.samplerate, total)
    try:
        if piece is not None:
            with Stream(io.BytesIO(piece[0])) as cut:
                _skip(cut, piece[1])
                audio = cut.read(frames, dtype="float32", always_2d=True)
            if len(audio) == frames:
                return audio
        first = decoding_start(handle, start)
        handle.seek(first)
        _skip(handle, start - first)
        return handle.read(frames, dtype="float32", always_2d=True)
    except (RuntimeError, ValueError):
        return np.zeros((0, handle.channels), np.float32)


def read_crop(file: AudioFile, start: int, size: int, sample_rate: int) -> np.ndarray:
    """Up to ``size`` samples from ``start`` on, both counted at ``sample_rate``; float32 (file.channels, n ≤ size).

    A resampled crop equals the same slice of the resampled file (to about −100 dB): it is cut out of a little more.
    Samples that are not finite come back as such.
    """
    if sample_rate == file.sample_rate:
        return read_frames(file, start, size).T
    common = math.gcd(sample_rate, file.sample_rate)
    ours, theirs = sample_rate // common, file.sample_rate // common
    context = math.ceil(_CONTEXT_SECONDS * sample_rate)
    # Every ours-th of our samples falls on one of theirs: begin there, so that the resampler's grid is the file's.
    first = max(0, start - context) // ours
    last = math.ceil((start + size + context) / ours)
    audio = read_frames(file, first * theirs, min((last - first) * theirs, file.frames - first * theirs))
    if not np.isfinite(audio).all():
        return np.full((file.channels, min(size, file.length_at(sample_rate) - start)), np.nan, np.float32)
    resampled = soxr.resample(audio, file.sample_rate, sample_rate)
    offset = start - first * ours
    return np.asarray(resampled[offset : offset + size].T, np.float32)


def mix_channels(audio: np.ndarray, channels: int) -> np.ndarray:
    """Brings (1 | 2 | 6, T) to ``channels`` = 1 or 2: mono is copied, stereo averaged, 5.1 downmixed per ITU-R BS.775.

    >>> mix_channels(np.array([[1.0, 2.0]]), 2).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    if audio.shape[0] == 6:
        audio = _DOWNMIX_51 @ audio
    if audio.shape[0] == channels:
        return audio
    return np.repeat(audio, 2, axis=0) if channels == 2 else audio.mean(axis=0, keepdims=True)
