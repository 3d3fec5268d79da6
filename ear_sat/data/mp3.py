"""mp3 files frame by frame: what is really in them, and cuts that decode to a crop.

libsndfile believes the encoder's tag, and without one takes all frames to be as large as the first. Where the tag does
not account for the bytes of the file, its frames are walked through: there may be other tags, junk, further streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import pairwise

from .parts import Buffer, Part, UnusableFileError

# ISO/IEC 11172-3 and 13818-3, 2.4.2.3, Layer III: kbit/s and Hz by their index in the third byte of a frame's header.
_BIT_RATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_LOW_BIT_RATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_SAMPLE_RATES = (44100, 48000, 32000)
_HALVINGS = {3: 0, 2: 1, 0: 2}  # of the sample rate: MPEG-1, MPEG-2, MPEG-2.5
FRAME = 1152  # samples of MPEG-1; the others have half of it
LARGEST = 1441  # bytes: 320 kbit/s at 32 kHz, with padding
_HEADER = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
_IN_A_ROW = 3  # frames that follow each other are no accident
# Bytes before the first frame, at most: the rest of a cut one, or behind a tag or zeros what these do not count.
_JUNK, _UNCOUNTED = 2 * LARGEST, 1 << 20
# Header, side information (9 to 32 bytes; 2 more with a checksum), the encoder's tag, its flags; or Fraunhofer's.
_TAG = re.compile(rb"(?:.{13}|.{15}|.{21}|.{23}|.{36}|.{38})(?:Xing|Info)(.{4})|.{36}VBRI.{10}", re.DOTALL)
_TAG_NAMES = (b"Xing", b"Info", b"VBRI")
_TAG_PLACES = (13, 15, 21, 23, 36, 38)
_ZEROS = re.compile(rb"\0+")
_CRC16 = [reduce(lambda crc, _: crc >> 1 ^ 0xA001 * (crc & 1), range(8), byte) for byte in range(256)]  # CRC-16/ARC
_DECODER_DELAY = 529  # samples, which mpg123 adds to the encoder's delay and takes from its padding


@dataclass(frozen=True)
class _Tag:
    """What the encoder's tag says: frames and bytes, and samples that are none of the music.

    Attributes:
        frames_at, padding_at: where they stand, in bytes from the frame's beginning; None in a tag that libsndfile does
            not know. It then takes the tag's frame for music.
        is_sound: its checksum is right, or it has none.
    """

    frames: int
    bytes: int
    delay: int = 0
    padding: int = 0
    frames_at: int | None = None
    padding_at: int = 0
    is_sound: bool = True


def find_parts(data: Buffer) -> list[Part]:
    """The streams of an mp3 file, each with its length where the encoder's tag does not tell it or is wrong.

    Everything that is no mp3 is one part, as it is.

    Raises:
        UnusableFileError: streams of different kinds are joined.
    """
    behind_tag = after_id3(data, 0)
    begin = _after_tags(data, 0)
    first = behind_tag if _is_frame(data, behind_tag) else _next_frame(data, begin, _UNCOUNTED if begin else _JUNK)
    if first is None:
        return [Part()]
    tag = read_tag(data, first)
    if first == behind_tag and tag is not None and _accounts_for(tag, len(data) - first):
        return [Part()]
    places, end = _all_frames(data, first)
    if len({_kind(data, place) for place in places}) > 1:
        raise UnusableFileError("it joins mp3 streams of different sample rates or channels; split it")
    begins = {0, *_tagged(data, places, end)}
    parts = [_part(data, places[a:b], [*places, end][b]) for a, b in pairwise([*sorted(begins), len(places)])]
    alone = len(parts) == 1 and first == behind_tag and not (parts[0].head or parts[0].zeros or parts[0].lost)
    return [Part()] if alone else parts


def _part(data: Buffer, places: list[int], end: int) -> Part:
    """The stream of frames at ``places``."""
    samples = _kind(data, places[0])[2]
    tag = read_tag(data, places[0])
    here = len(places) - (tag is not None)
    if tag is None or tag.frames_at is None:
        if here == 0:
            raise UnusableFileError("it holds no samples")
        lost = 0 if tag is None else max(0, tag.frames - here) * samples
        # libsndfile estimates the length from the size of the first frame and reads no further.
        return Part(places[-here], end, zeros=here * LARGEST, frames=here * samples, lost=lost)
    if here < tag.frames:
        there = max(0, here * samples - tag.delay)
        return Part(places[0], end, frames=there, lost=max(0, (tag.frames - here) * samples - tag.padding))
    if here <= tag.frames + 1:
        return Part(places[0], end)
    head = bytearray(data[places[0] : places[1]])  # the tag, as it would be if it counted all
    head[tag.frames_at : tag.frames_at + 4] = here.to_bytes(4, "big")
    if tag.padding_at + 2 <= len(head):
        head[tag.padding_at : tag.padding_at + 2] = bytes((head[tag.padding_at] & 0xF0, 0))
    return Part(places[1], end, bytes(head))


def read_tag(data: Buffer, place: int) -> _Tag | None:
    """The encoder's tag in the frame at ``place``."""
    found = _TAG.match(data, place)
    if found is None:
        return None
    if found[1] is None:
        frames, size = (int.from_bytes(data[at : at + 4], "big") for at in (place + 50, place + 46))
        return _Tag(frames, size)
    flags, at = found[1][3], found.end() - place
    counts = {1: 0, 2: 0}
    frames_at = at if flags & 1 else None
    for bit, length in ((1, 4), (2, 4), (4, 100), (8, 4)):
        if flags & bit:
            counts[bit] = int.from_bytes(data[place + at : place + at + 4], "big")
            at += length
    delays = int.from_bytes(data[place + at + 21 : place + at + 24], "big")  # 12 bits of delay, 12 bits of padding
    delay, padding = (delays >> 12) + _DECODER_DELAY, max(0, (delays & 0xFFF) - _DECODER_DELAY)
    end = place + at + 34
    checksum = int.from_bytes(data[end : end + 2], "big")  # of the frame up to here; 0 in tags that have none
    return _Tag(counts[1], counts[2], delay, padding, frames_at, at + 22, checksum in (0, _crc16(data[place:end])))


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC16[(crc ^ byte) & 0xFF]
    return crc


def _accounts_for(tag: _Tag, size: int) -> bool:
    """Whether the tag's numbers agree with the ``size`` of the rest of the file, but for a tag behind the frames."""
    known = tag.is_sound and tag.frames_at is not None and tag.frames * 24 <= tag.bytes  # 24 bytes: a frame of 8 kbit/s
    return known and 0 <= size - tag.bytes <= LARGEST


def _kind(data: Buffer, place: int) -> tuple[int, int, int, bool]:
    """Version, sample rate in Hz, samples per frame and whether it is mono, of the frame at ``place``."""
    version = data[place + 1] >> 3 & 3
    rate = _SAMPLE_RATES[data[place + 2] >> 2 & 3] >> _HALVINGS[version]
    return version, rate, FRAME if version == 3 else FRAME // 2, data[place + 3] >> 6 == 3


@lru_cache(maxsize=9)
def _sizes(kind: int, rate: int) -> list[int]:
    """Bytes of a frame by the third byte of its header; 0 where that belongs to no frame of the same rate."""
    low = kind >> 3 & 3 != 3
    sample_rate = _SAMPLE_RATES[rate] >> _HALVINGS[kind >> 3 & 3]
    bit_rates, unit = (_LOW_BIT_RATES, 72000) if low else (_BIT_RATES, 144000)
    return [
        unit * bit_rates[byte >> 4] // sample_rate + (byte >> 1 & 1)
        if byte >> 2 & 3 == rate and bit_rates[byte >> 4]
        else 0
        for byte in range(256)
    ]


def walk(data: Buffer, place: int, within: int = 1 << 62) -> tuple[list[int], int]:
    """Where the whole frames from ``place`` on begin, as far as one follows upon the other, and where the last ends.

    Those that begin ``within`` so many bytes.
    """
    if not _HEADER.match(data, place) or len(data) < place + 4 or data[place + 2] >> 2 & 3 == 3:
        return [], place
    kind = data[place + 1] & 0xFE
    sizes, end = _sizes(kind, data[place + 2] >> 2 & 3), min(len(data) - 4, place + within)
    places: list[int] = []
    while place <= end and data[place] == 0xFF and data[place + 1] & 0xFE == kind:
        step = sizes[data[place + 2]]
        if step == 0:
            break
        places.append(place)
        place += step
    if place > len(data):  # the last frame is truncated
        place = places.pop()
    return places, place


def _is_frame(data: Buffer, place: int) -> bool:
    """Whether frames begin there: some in a row, or all up to the end or to a tag."""
    places, end = walk(data, place, _IN_A_ROW * LARGEST)
    return len(places) >= _IN_A_ROW or (bool(places) and _after_tags(data, end) > len(data) - LARGEST)


def _next_frame(data: Buffer, place: int, within: int) -> int | None:
    """The first place from ``place`` on, at most ``within`` bytes away, where frames begin."""
    hits = (match.start() for match in _HEADER.finditer(data, place, min(len(data), place + within)))
    return next((hit for hit in hits if _is_frame(data, hit)), None)


def _all_frames(data: Buffer, place: int) -> tuple[list[int], int]:
    """Where all frames of the file begin, from ``place`` on, whatever lies between them, and where the last ends."""
    places, end = walk(data, place)
    while (following := _next_frame(data, _after_tags(data, end), len(data))) is not None:
        more, end = walk(data, following)
        places += more
    return places, end


def _tagged(data: Buffer, places: list[int], end: int) -> Iterator[int]:
    """Numbers of the frames that hold an encoder's tag: there a stream begins."""
    numbers = {place: number for number, place in enumerate(places)}
    for name in _TAG_NAMES:
        hit = data.find(name, places[0], end)
        while hit >= 0:
            found = [numbers[hit - offset] for offset in _TAG_PLACES if hit - offset in numbers]
            yield from (number for number in found if read_tag(data, places[number]) is not None)
            hit = data.find(name, hit + 1, end)


def after_id3(data: Buffer, place: int) -> int:
    """Where an ID3v2 tag ends that begins at ``place``, or ``place``."""
    if data[place : place + 3] != b"ID3" or len(data) < place + 10:
        return place
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[place + 6 : place + 10], (21, 14, 7, 0), strict=True))
    return place + 10 + size + (10 if data[place + 5] & 0x10 else 0)  # with a footer


def _after_tags(data: Buffer, place: int) -> int:
    """Where tags and zeros end that begin at ``place``."""
    while place < len(data):
        before = place
        place = after_id3(data, place)
        if data[place : place + 3] == b"TAG":
            place += 128
        elif data[place : place + 8] == b"APETAGEX":
            place += 32 + int.from_bytes(data[place + 12 : place + 16], "little")
        elif zeros := _ZEROS.match(data, place):
            place = zeros.end()
        if place == before:
            break
    return min(place, len(data))
