"""Standard output and error that cannot end a command: closed pipes, full disks and narrow encodings cost text only."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class _Tolerant:
    """A text stream whose writes never fail: after the first failure the text goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """Points the stream's descriptor at nothing, so that what it has buffered can leave it too."""
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
    """While open, printing never raises; characters that the encoding lacks are replaced."""
    before = sys.stdout, sys.stderr
    streams = []
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        for stream in before:
            stream = stream or nothing  # None where the descriptor was closed from the start
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
            streams.append(_Tolerant(stream))
        sys.stdout, sys.stderr = streams  # type: ignore[assignment]
        try:
            yield
        finally:
            for wrapped in streams:
                wrapped.flush()
            sys.stdout, sys.stderr = before
