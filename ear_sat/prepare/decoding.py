"""A track from its first sample to its last, in blocks, and whether that was all of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.finding import regular_file
from ..data.manifest import split_path
from ..data.parts import Source, UnusableFileError
from ..data.stream import Stream, reason_of
from .tracks import read_member

BLOCK = 1 << 16  # frames


@dataclass(frozen=True)
class Header:
    """What is known of a track before decoding. ``frames`` is what it promises."""

    bytes: int
    sha256: str
    container: str
    encoding: str
    sample_rate: int
    channels: int
    frames: int


class Track:
    """An open track; use it in a ``with`` block.

    Args:
        path: see :mod:`.tracks`.

    Attributes:
        header: see :class:`Header`.
        layout: positions of its channels.

    Raises:
        UnusableFileError: not readable as audio.
    """

    def __init__(self, path: str) -> None:
        file, member = split_path(path)
        source: Source = read_member(file, member) if member else file
        try:
            size, checksum = _checksum(source)
        except OSError as error:
            raise UnusableFileError(f"not readable ({reason_of(error)})") from error
        self._stream = Stream(source)
        found = self._stream.found
        self.header = Header(
            size, checksum, found.container, found.codec, found.sample_rate, found.channels, found.promised
        )
        self.layout = found.layout

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.__exit__(*error)

    def blocks(self) -> Iterator[np.ndarray]:
        """All frames in blocks, float32 (frames, channels); see :meth:`ear_sat.data.stream.Stream.blocks`."""
        return self._stream.blocks(BLOCK)


def _checksum(source: Source) -> tuple[int, str]:
    """Size in bytes and SHA-256.

    Raises:
        UnusableFileError: it is no file, but something that may never end.
        OSError: it cannot be read.
    """
    if isinstance(source, bytes):
        return len(source), hashlib.sha256(source).hexdigest()
    regular_file(source)
    digest, size = hashlib.sha256(), 0
    with Path(source).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


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
