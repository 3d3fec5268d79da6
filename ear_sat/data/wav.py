"""wav files that hold more than their header counts: a recorder that stopped, more than 4 GB."""

from __future__ import annotations

import re

from .parts import Buffer, Part

MARKER = b"RIFF"
STREAMED_SIZE = 0x7FFF0000  # bytes; writers to a pipe put 0x7FFFFFFF or 0xFFFFFFFF, or a little less
_CHUNK_NAME = re.compile(rb"[ -~]{4}")
_JUNK = 4096  # bytes that may follow and be no audio: a tag


def find_parts(data: Buffer) -> list[Part]:
    """The file, as if its header counted all of it where what follows the audio is no chunk."""
    if data[8:12] != b"WAVE":
        return [Part()]
    place = 12
    while (header := data[place : place + 8])[:4] != b"data":
        if len(header) < 8:
            return [Part()]
        size = int.from_bytes(header[4:], "little")
        place += 8 + size + size % 2
    size = int.from_bytes(header[4:], "little")
    end = place + 8 + size
    # Some writers leave out the byte that makes a size even.
    chunk = any(_CHUNK_NAME.match(data, at) for at in (end, end + size % 2))
    if size >= STREAMED_SIZE or len(header) < 8 or chunk or len(data) - end <= _JUNK + size // 100:
        return [Part()]
    begin, size = place + 8, len(data) - place - 8
    if size < STREAMED_SIZE:
        return [Part(begin, head=data[: place + 4] + size.to_bytes(4, "little"))]
    # EBU Tech 3306: sizes of the file and of the audio, samples (0 where they follow from these), no table.
    sizes = (size + begin + 28).to_bytes(8, "little") + size.to_bytes(8, "little") + bytes(12)
    head = b"RF64\xff\xff\xff\xffWAVEds64" + len(sizes).to_bytes(4, "little") + sizes + data[12:place]
    return [Part(begin, head=head + b"data\xff\xff\xff\xff")]
