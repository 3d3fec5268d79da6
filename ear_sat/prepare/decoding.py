"""A track from its first sample to its last, in blocks, and whether that was all of it."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..data.manifest import split_path
from ..data.reading import AudioFile, Stream, UnusableFileError, promised_frames, reason_of, with_length
from .tracks import read_member

BLOCK = 1 << 16  # frames


@dataclass(frozen=True)
class Header:
    """What is known of a track before decoding. ``frames`` is what it promises; None where it promises nothing."""

    bytes: int
    sha256: str
    container: str
    encoding: str
    sample_rate: int
    channels: int
    frames: int | None


class Track:
    """An open track; use it in a ``with`` block.

    Args:
        path: see :mod:`.tracks`.

    Attributes:
        header: see :class:`Header`.

    Raises:
        UnusableFileError: not readable as audio.
    """

    def __init__(self, path: str) -> None:
        file, member = split_path(path)
        try:
            source: Any = io.BytesIO(read_member(file, member)) if member else file
            size, checksum = _checksum(source)
            if size == 0:
                raise UnusableFileError("the file is empty (0 bytes)")
            self._file = Stream(with_length(source))
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise UnusableFileError(f"not readable as audio ({_why(error)})") from error
        handle = self._file
        self.header = Header(
            size, checksum, handle.format, handle.subtype, handle.samplerate, handle.channels, promised_frames(handle)
        )

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def blocks(self, dtype: str = "float32") -> Iterator[np.ndarray]:
        """All frames, in blocks (frames, channels) of soundfile's ``dtype``.

        Raises:
            UnusableFileError: no samples, a read error, or fewer frames than the header promises.
        """
        done, rate = 0, self.header.sample_rate
        while True:
            try:
                block = self._file.read(BLOCK, dtype=dtype, always_2d=True)
            except (OSError, RuntimeError, ValueError, TypeError) as error:
                raise UnusableFileError(f"decoding stopped after {done / rate:.1f} s ({_why(error)})") from error
            if len(block) == 0:
                break
            done += len(block)
            yield block
        if done == 0:
            raise UnusableFileError("it holds no samples")
        promised = self.header.frames
        if promised is not None:
            AudioFile("", promised, rate, self.header.channels).require_end_at(done)


def _checksum(source: str | io.BytesIO) -> tuple[int, str]:
    """Size in bytes and SHA-256."""
    if isinstance(source, io.BytesIO):
        with source.getbuffer() as data:
            return len(data), hashlib.sha256(data).hexdigest()
    digest, size = hashlib.sha256(), 0
    with Path(source).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _why(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError) and not error.error_string:
        return f"libsndfile's error {error.code}"
    return reason_of(error)


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Sends what libraries print to standard error nowhere: libmpg123 warns about every odd frame of every file."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
