"""An audio file as a whole: what is in it, and all of it block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .containers import locate
from .handle import Handle
from .layouts import Layout
from .parts import Source, UnusableFileError

FAILURES = (OSError, RuntimeError, ValueError, TypeError)  # of libsndfile and of the system


@dataclass(frozen=True)
class AudioFile:
    """A file and what is in it. ``frames`` counts samples per channel at ``sample_rate`` Hz.

    ``layout`` has the positions of its channels, empty where they are not known; ``lost`` is how many frames the header
    promises beyond those that are there.
    """

    path: str
    frames: int
    sample_rate: int
    channels: int
    layout: Layout = field(default=(), repr=False, compare=False)
    lost: int = field(default=0, repr=False, compare=False)

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


def reason_of(error: Exception) -> str:
    """An exception's message without the path that OSError and soundfile put into it."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None)
    if text == "" and (code := getattr(error, "code", None)) is not None:
        return f"libsndfile's error {code}"
    reason = str(text or str(error) or repr(error)).removeprefix("Error : ").strip().rstrip(".")
    if "embedded null" in reason:  # a path with a zero byte; Python 3.13 has other words for it than its predecessors
        return "embedded null byte"
    # What libsndfile says of a file that is there where its mp3 decoder finds no frame.
    return "Format not recognised" if reason.startswith("File does not exist or is not a regular file") else reason


class Stream:
    """An audio file from its first sample to its last, through all its parts; use it in a ``with`` block.

    Args:
        source: a path, or the bytes of a file.

    Attributes:
        found: what is in it.

    Raises:
        UnusableFileError: not readable as audio.
    """

    def __init__(self, source: Source) -> None:
        try:
            self.found = locate(source)
            self._source, self._waiting = source, list(self.found.parts)
            self._open_next()
        except FAILURES as error:
            raise UnusableFileError(f"not readable as audio ({reason_of(error)})") from error

    def _open_next(self) -> None:
        part = self._waiting.pop(0)
        self._handle, self._left = Handle(self._source, part), part.frames or 0
        if self._handle.subtype.startswith("MPEG"):
            self._handle.seek(0)  # as for a crop: it moves last bits

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def read(self, frames: int) -> np.ndarray:
        """Up to so many of the next frames, float32 (n, channels); none at the end.

        Raises:
            UnusableFileError: floating-point samples far above full scale.
            OSError, RuntimeError: a read error.
        """
        while True:
            # Not beyond the end: what follows it may be no audio.
            audio = self._handle.take(min(frames, self._left))
            self._left -= len(audio)
            if len(audio) or not self._waiting:
                return audio
            self._handle.close()
            self._open_next()

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """All frames in blocks of up to so many, float32 (n, channels).

        Raises:
            UnusableFileError: no samples, a read error, or the audio ends before the headers say.
        """
        done, rate = 0, self.found.sample_rate
        promise = AudioFile("", self.found.promised, rate, self.found.channels)
        if self.found.frames:
            promise.require_end_at(self.found.frames)
        while True:
            try:
                block = self.read(frames)
            except FAILURES as error:
                raise UnusableFileError(f"read error after {done / rate:.1f} s ({reason_of(error)})") from error
            if len(block) == 0:
                break
            done += len(block)
            yield block
        if done == 0:
            raise UnusableFileError("it holds no samples")
        promise.require_end_at(done)
