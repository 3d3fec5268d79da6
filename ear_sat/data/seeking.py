"""Where decoding has to begin so that a crop is, bit for bit, the slice of the decoded file.

wav, flac and aiff seek to the sample. Vorbis and Opus depend on what came before, so decoding begins earlier and what
precedes the crop is dropped. The distances were measured with libsndfile 1.2.2.
"""

from __future__ import annotations

from .handle import Handle
from .ogg import last_page_frames

# Vorbis blocks have at most 8192 samples, and libsndfile leaves the first one after a search incomplete.
_VORBIS_WARM_UP = 2 * 8192
# It searches for targets at least this far ahead; nearer ones it reaches by skipping, where it miscounts a block. A
# search that ends in the last page is off by what the stream's end cuts off.
_VORBIS_SEARCH_SECONDS = 2
# Opus predicts from frame to frame without end; after 3 s two of 432 crops still differed in last bits, after 5 s none.
_OPUS_WARM_UP_SECONDS = 8


def decoding_start(handle: Handle, start: int) -> int:
    """The frame, at most ``start``, to seek to in a newly opened ``handle``; read on from there and drop the surplus.

    0, the beginning, for mp3: see :mod:`.mp3_cuts`. Seek to 0 too: so does ``soundfile.read``, and it moves last bits.
    """
    if handle.subtype.startswith("MPEG"):
        return 0
    if handle.subtype == "VORBIS":
        with handle.raw() as file:
            earlier = min(start, handle.frames - last_page_frames(file)) - _VORBIS_WARM_UP
        return earlier if earlier >= _VORBIS_SEARCH_SECONDS * handle.samplerate else 0
    if handle.subtype == "OPUS":
        return max(0, start - _OPUS_WARM_UP_SECONDS * handle.samplerate)
    return start
