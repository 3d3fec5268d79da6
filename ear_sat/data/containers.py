"""Which streams a file holds, how long they are, and what of them is missing: the one place that knows formats."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from . import flac, mp3, ogg, wav
from .finding import regular_file
from .handle import Handle
from .layouts import Layout
from .parts import Buffer, Part, Source, UnusableFileError, mapped

_UNKNOWN_LENGTH = 1 << 40  # frames; libsndfile reports about 2^63 where a streamed file's header gives none
# Formats that libsndfile knows by these first bytes and counts right, or whose length it corrects.
_OTHER_MARKERS = (b"FORM", b"RF64", b"riff", b"caff", b".snd", b"dns.", b"wvpk")
# What libsndfile notes where a file is shorter than its header says; it then corrects the length.
_SHORT_CHUNK = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_SHORT_RF64 = re.compile(r"Calculated frame count \d+ does not match value from 'ds64' chunk of (\d+)")


def find_parts(data: Buffer) -> list[Part]:
    """The streams of a file, of which libsndfile by itself reads the first or too much.

    Raises:
        UnusableFileError: it is truncated, or a mixture that cannot be joined.
    """
    if data[:4] == wav.MARKER:
        return wav.find_parts(data)
    if data[:4] == ogg.MARKER:
        return ogg.find_parts(data)
    if data[:4] in _OTHER_MARKERS:
        return [Part()]
    begin = mp3.after_id3(data, 0)
    if data[begin : begin + 4] == flac.MARKER:
        return flac.find_parts(data, begin)
    return mp3.find_parts(data)


@dataclass(frozen=True)
class Located:
    """What a file holds.

    Attributes:
        parts: its streams, with the length of each and what is missing of it.
        container, codec: libsndfile's names for them.
        sample_rate: in Hz.
        channels: how many.
        layout: see :class:`.handle.Handle`.
    """

    parts: tuple[Part, ...]
    container: str
    codec: str
    sample_rate: int
    channels: int
    layout: Layout

    @property
    def frames(self) -> int:
        """Samples per channel that are there."""
        return sum(part.frames or 0 for part in self.parts)

    @property
    def promised(self) -> int:
        """Samples per channel that the headers promise."""
        return self.frames + sum(part.lost for part in self.parts)


def locate(source: Source) -> Located:
    """Finds out what a file holds.

    Raises:
        UnusableFileError: it is no file, empty, or its parts differ in sample rate or channels.
        OSError, RuntimeError: it cannot be read.
    """
    if isinstance(source, bytes):
        return _locate(source, len(source), 0)
    state = regular_file(source)
    return _located(source, state.st_size, state.st_mtime_ns)


def _locate(source: Source, size: int, _changed: int) -> Located:
    if size == 0:
        raise UnusableFileError("the file is empty (0 bytes)")
    with mapped(source) as data:
        parts = find_parts(data)
    found: list[Located] = []
    for part in parts:
        with Handle(source, part) as handle:
            what = (handle.format, handle.subtype, handle.samplerate, handle.channels, handle.layout)
            found.append(Located((_measured(handle, part),), *what))
    if len({(each.sample_rate, each.layout) for each in found}) > 1:
        raise UnusableFileError("it joins streams of different sample rates or channels; split it")
    return replace(found[0], parts=tuple(each.parts[0] for each in found))


_located = lru_cache(maxsize=64)(_locate)


def _measured(handle: Handle, part: Part) -> Part:
    """The part with its length, and what libsndfile noted to be missing."""
    if part.frames is not None:
        return part
    frames, notes, lost = int(handle.frames), handle.extra_info, 0
    if not 0 <= frames < _UNKNOWN_LENGTH:
        return replace(part, frames=handle.skip(_UNKNOWN_LENGTH))
    if (short := _SHORT_CHUNK.search(notes)) and 0 < int(short[2]) < int(short[1]) < wav.STREAMED_SIZE:
        lost = frames * int(short[1]) // int(short[2]) - frames
    elif short := _SHORT_RF64.search(notes):
        lost = max(0, int(short[1]) - frames)
    return replace(part, frames=frames, lost=lost)
