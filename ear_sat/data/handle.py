"""A file, or a part of one, as libsndfile opens it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import soundfile

from .layouts import Layout, layout_of, wav_order
from .parts import ByteFile, Part, Source, UnusableFileError, Window

_BLOCK = 1 << 18  # frames
_HEAD = 1 << 16  # bytes in which a FLAC file's comments lie
_LOUDEST = 8.0  # +18 dBFS: no mix is that hot, and of 16 bits taken for floats all but silence is
_WHOLE = Part()


def native_path(path: str | Path) -> str | bytes:
    """A path as libsndfile takes it: as bytes, since its name may be any; Windows has them as text."""
    return os.fspath(path) if os.name == "nt" else os.fsencode(path)


class Handle(soundfile.SoundFile):
    """An open file, or part of one, whose channels come in the order of wav.

    Args:
        source: a path of any name, or bytes.
        part: of it.

    Attributes:
        layout: positions of the channels; empty where the file does not say.
    """

    def __init__(self, source: Source, part: Part = _WHOLE) -> None:
        self.source, self.part = source, part
        self._window: ByteFile | None = None
        if part.is_file and isinstance(source, str):
            super().__init__(native_path(source))
        else:
            self._window = self.raw()
            super().__init__(self._window)
        self.layout: Layout = ()
        self._order: list[int] | None = None
        if self.channels <= 2:
            self.layout = layout_of(self.format, self.subtype, self.channels, "", b"")
        else:
            with self.raw() as file:
                head = file.read(_HEAD)
            self.layout = layout_of(self.format, self.subtype, self.channels, self.extra_info, head)
            order = wav_order(self.layout)
            if self.layout and order != sorted(order):
                self._order, self.layout = order, tuple(self.layout[channel] for channel in order)

    def raw(self) -> ByteFile:
        """The bytes that libsndfile reads, as a file of its own."""
        if self.part.is_file and isinstance(self.source, str):
            return Path(self.source).open("rb")
        return Window(self.source, self.part)

    def close(self) -> None:
        super().close()
        if self._window is not None:
            self._window.close()

    def seekable(self) -> bool:
        """No: ``SoundFile.read`` would end with a seek to where it is, from which flac and opus do not recover."""
        return False

    def take(self, frames: int) -> np.ndarray:
        """The next frames, float32 (n, channels), as many as there are.

        Raises:
            UnusableFileError: floating-point samples far above full scale.
        """
        audio = self.read(frames, dtype="float32", always_2d=True)
        if self.subtype in ("FLOAT", "DOUBLE") and audio.size:
            peak = float(max(audio.max(), -audio.min()))
            if _LOUDEST < peak < math.inf:
                raise UnusableFileError(
                    f"its floating-point samples reach {peak:.6g}, where 1 is full scale: divide them by the full "
                    "scale of the integers that they were (32768 for 16 bits)"
                )
        return audio if self._order is None else audio[:, self._order]

    def skip(self, frames: int) -> int:
        """Decodes and drops up to ``frames`` frames; returns how many there were."""
        done = 0
        while done < frames and (got := len(self.read(min(_BLOCK, frames - done), dtype="float32", always_2d=True))):
            done += got
        return done
