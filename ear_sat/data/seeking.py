"""Where decoding has to begin so that a crop is, bit for bit, the slice of the decoded file.

wav, flac and aiff seek to the sample. Vorbis and Opus depend on what came before, so decoding begins earlier and what
precedes the crop is dropped. The distances were measured with libsndfile 1.2.2.
"""

from __future__ import annotations

import re
from pathlib import Path

import soundfile

# Vorbis blocks have at most 8192 samples, and libsndfile leaves the first one after a search incomplete.
_VORBIS_WARM_UP = 2 * 8192
# It searches for targets at least this far ahead; nearer ones it reaches by skipping, where it miscounts a block. A
# search that ends in the last page is off by what the stream's end cuts off.
_VORBIS_SEARCH_SECONDS = 2
_OGG_PAGE_BYTES = 65307  # at most, RFC 3533
_OGG_PAGE = re.compile(rb"OggS\0[\0-\7]")
# Opus predicts from frame to frame without end; after 3 s two of 432 crops still differed in last bits, after 5 s none.
_OPUS_WARM_UP_SECONDS = 8


def decoding_start(handle: soundfile.SoundFile, start: int) -> int:
    """The frame, at most ``start``, to seek to in a newly opened ``handle``; read on from there and drop the surplus.

    0, the beginning, for mp3: see :mod:`.mp3`. Seek to 0 as well: so does ``soundfile.read``, and it moves last bits.
    """
    if handle.subtype.startswith("MPEG"):
        return 0
    if handle.subtype == "VORBIS":
        earlier = min(start, handle.frames - _last_page_frames(Path(handle.name))) - _VORBIS_WARM_UP
        return earlier if earlier >= _VORBIS_SEARCH_SECONDS * handle.samplerate else 0
    if handle.subtype == "OPUS":
        return max(0, start - _OPUS_WARM_UP_SECONDS * handle.samplerate)
    return start


def _last_page_frames(path: Path) -> int:
    """How many frames the last page of an Ogg stream ends, by its and the last but one's granule position."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 3 * _OGG_PAGE_BYTES))
        data = file.read()
    ends = [
        int.from_bytes(data[page.end() : page.end() + 8], "little", signed=True) for page in _OGG_PAGE.finditer(data)
    ]
    ends = [end for end in ends if end >= 0]  # −1: no packet ends in this page
    return ends[-1] - ends[-2] if len(ends) > 1 else 0
