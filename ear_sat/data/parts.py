"""Byte ranges of a file that libsndfile reads as if each were a file of its own."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Source: TypeAlias = str | bytes
"""A path, or what would be in the file."""
Buffer: TypeAlias = bytes | mmap.mmap
ByteFile: TypeAlias = io.RawIOBase | io.BufferedReader


class UnusableFileError(Exception):
    """The file cannot be used; the message is the reason, without the path."""


@dataclass(frozen=True)
class Part:
    """One of the streams that make up a file; by default the whole file, as it is.

    Attributes:
        begin, end: in bytes; None: the file's end.
        head: bytes that seem to precede ``begin``.
        zeros: bytes that seem to follow ``end``.
        frames: samples per channel that are there; None: as libsndfile says.
        lost: samples per channel that a header promises beyond them.
    """

    begin: int = 0
    end: int | None = None
    head: bytes = b""
    zeros: int = 0
    frames: int | None = None
    lost: int = 0

    @property
    def is_file(self) -> bool:
        """Whether libsndfile can be given the file itself."""
        return not (self.begin or self.end or self.head or self.zeros)


class Window(io.RawIOBase):
    """The bytes of a part, to be read as a file."""

    def __init__(self, source: Source, part: Part) -> None:
        self._file = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
        self._part, self._place = part, 0
        size = self._file.seek(0, io.SEEK_END)
        self._real = len(part.head) + (size if part.end is None else min(part.end, size)) - part.begin

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._place, self._real + self._part.zeros)[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed has no public name for it
        place, head = self._place, self._part.head
        if place < len(head):
            piece = head[place : place + len(view)]
        elif place < self._real:
            self._file.seek(self._part.begin + place - len(head))
            piece = self._file.read(min(len(view), self._real - place))
        else:
            piece = bytes(max(0, min(len(view), self._real + self._part.zeros - place)))
        view[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def mapped(source: Source) -> Iterator[Buffer]:
    """The bytes of a source that is not empty, without reading those that are not asked for."""
    if isinstance(source, bytes):
        yield source
        return
    with Path(source).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
