"""Ogg files that hold several streams one after the other, or that were cut off. Layout of a page: RFC 3533."""

from __future__ import annotations

import io
import re
import zlib

from .parts import Buffer, ByteFile, Part, UnusableFileError

MARKER = b"OggS"
_PAGE_BYTES = 65307  # at most
_PAGE = re.compile(rb"OggS\0[\0-\7]")
_BEGINS, _ENDS = 2, 4  # flags
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_parts(data: Buffer) -> list[Part]:
    """The streams of an Ogg file.

    libsndfile reads the first of a chain (radio recordings, joined files) and takes a missing end for the end.

    Raises:
        UnusableFileError: the last page is not the end of a stream, or damaged, or one with the stream's headers is.
    """
    _check_headers(data)
    tail = data[-3 * _PAGE_BYTES :]
    pages = [m.start() for m in _PAGE.finditer(tail) if m.start() + _page_size(tail, m.start()) <= len(tail)]
    if not pages:
        return [Part()]
    last = pages[-1]
    if not tail[last + 5] & _ENDS:
        raise UnusableFileError("truncated: its last Ogg page does not end the stream; copy or record it anew")
    if not _is_sound(tail[last : last + _page_size(tail, last)]):  # libsndfile passes over such a page, without a word
        raise UnusableFileError("damaged: the checksum of its last Ogg page is wrong; copy or record it anew")
    if tail[last + 14 : last + 18] == data[14:18]:  # the stream that ends is the one that began
        return [Part()]
    begins = _links(data)
    return [Part(begin, end) for begin, end in zip(begins, [*begins[1:], None], strict=True)]


def _check_headers(data: Buffer) -> None:
    """libsndfile passes over a damaged page: without its headers, what it can still decode of the stream is not all."""
    place = 0
    while data[place : place + 4] == MARKER:
        page = bytes(data[place : place + _page_size(data, place)])
        if not _is_sound(page):
            raise UnusableFileError("damaged: the checksum of a page with Ogg headers is wrong; copy or record it anew")
        if any(page[6:14]):  # the sample that it ends with: behind the headers
            return
        place += len(page)


def _links(data: Buffer) -> list[int]:
    """Where the links of a chain begin: at a page that begins a stream, behind one that does not."""
    links, place, beginning = [], 0, False
    while place >= 0 and len(data) >= place + 27:
        if data[place : place + 4] != MARKER:
            place = data.find(MARKER, place)
            continue
        was, beginning = beginning, bool(data[place + 5] & _BEGINS)
        if beginning and not was:
            links.append(place)
        place += _page_size(data, place)
    return links or [0]


def _is_sound(page: bytes) -> bool:
    """Whether a page's checksum is right: zlib's polynomial, high bit first, from 0, over the page without it."""
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    checksum = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2) == int.from_bytes(page[22:26], "little")


def _page_size(data: Buffer, place: int) -> int:
    segments = data[place + 27 : place + 27 + data[place + 26]] if place + 26 < len(data) else b""
    return 27 + len(segments) + sum(segments)


def last_page_frames(file: ByteFile) -> int:
    """How many frames the last page of an Ogg stream ends, by its and the last but one's granule position."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 3 * _PAGE_BYTES))
    data = file.read() or b""
    ends = [int.from_bytes(data[page.end() : page.end() + 8], "little", signed=True) for page in _PAGE.finditer(data)]
    ends = [end for end in ends if end >= 0]  # −1: no packet ends in this page
    return ends[-1] - ends[-2] if len(ends) > 1 else 0
