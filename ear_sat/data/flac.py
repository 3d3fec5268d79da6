"""FLAC files whose header does not know their length, or knows a wrong one: the last frame's own number tells.

Recorders and pipes leave the length open, a cut file promises too much, joined ones or a recorder that stopped too
little. Layout of the header and of frames: RFC 9639, sections 8.2 and 9.1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .parts import Buffer, Part

MARKER = b"fLaC"
_START = re.compile(rb"fLaC[\x00\x80]\0\0\x22")
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_TAIL = 1 << 16  # bytes at the end that hold the last frame, tags behind it included, unless frames are larger
_RATES = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
_BITS = (0, 8, 12, None, 16, 20, 24, 32)
_LONGEST_HEADER = 17  # bytes


class _Info(NamedTuple):
    """Of the STREAMINFO block; ``block`` counts samples per frame."""

    block: int
    frame_bytes: int
    rate: int
    channels: int
    bits: int
    total: int


def find_parts(data: Buffer, begin: int) -> list[Part]:
    """The streams of a FLAC file; ``begin`` is where its marker stands."""
    if len(data) < begin + 42:
        return [Part()]
    part = _part(data, begin, len(data))
    if not part.lost and not part.head:
        return [Part()]
    places = [match.start() for match in _START.finditer(data, begin)]
    if len(places) < 2:
        return [part]
    return [_part(data, *span) for span in zip(places, [*places[1:], len(data)], strict=True)]


def _part(data: Buffer, begin: int, end: int) -> Part:
    """The stream there, with its length in its header where that was missing or too little."""
    info = _read_info(data[begin + 8 : begin + 42])
    found = _last_end(data[max(begin, end - max(_TAIL, 2 * info.frame_bytes)) : end], info)
    if found is None and info.total == 0:  # behind the frames stands something large
        found = _last_end(data[begin:end], info)
    whole = None if end == len(data) else end
    if found is None or found == info.total:
        return Part(begin, whole, frames=info.total or None)
    if found < info.total:
        return Part(begin, whole, frames=found, lost=info.total - found)
    packed = int.from_bytes(data[begin + 18 : begin + 26], "big") >> 36 << 36 | found
    return Part(begin + 26, whole, data[begin : begin + 18] + packed.to_bytes(8, "big"), frames=found)


def _last_end(data: bytes, info: _Info) -> int | None:
    """The sample at which the last frame in ``data`` ends."""
    places = [match.start() for match in _SYNC.finditer(data)]
    return next((end for place in reversed(places) if (end := _frame_end(data, place, info)) is not None), None)


def _read_info(block: bytes) -> _Info:
    packed = int.from_bytes(block[10:18], "big")
    return _Info(
        block=int.from_bytes(block[2:4], "big"),
        frame_bytes=int.from_bytes(block[7:10], "big"),
        rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        total=packed & (1 << 36) - 1,
    )


def _frame_end(data: bytes, place: int, info: _Info) -> int | None:
    """The sample at which a frame of this stream ends, or None if none begins at ``place``."""
    header = data[place : place + _LONGEST_HEADER]
    if len(header) < 6:
        return None
    size, rate, channels, bits = header[2] >> 4, header[2] & 15, header[3] >> 4, header[3] >> 1 & 7
    agrees = (
        size != 0
        and (rate in (0, 12, 13, 14) or (rate < 12 and _RATES[rate] == info.rate))
        and (channels + 1 if channels < 8 else 2 if channels < 11 else 0) == info.channels
        and (bits == 0 or _BITS[bits] == info.bits)
        and not header[3] & 1
    )
    if not agrees:
        return None
    # The number is coded as in UTF-8, of up to 36 bits.
    more = max(0, 8 - (header[4] ^ 0xFF).bit_length() - 1)
    number = header[4] & (0x7F >> more)
    for byte in header[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at = 5 + more
    if size in (6, 7):
        samples = int.from_bytes(header[at : at + size - 5], "big") + 1
        at += size - 5
    else:
        samples = 192 if size == 1 else 576 << size - 2 if size < 6 else 256 << size - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if len(header) <= at or _crc8(header[:at]) != header[at]:
        return None
    return number + samples if header[1] & 1 else number * info.block + samples


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc
