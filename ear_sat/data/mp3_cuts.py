"""Cuts of mp3 files that decode to a crop.

The frames of a crop are cut out as a small stream of its own that decodes to the same samples. Seeking in an mp3 means
to walk through all frames up to the place, which libsndfile 1.2.2 does with two system calls for each: four times as
long as decoding the crop. Walking here takes a third of that. MPEG-1 only: in MPEG-2 (24 kHz and less) libsndfile loses
frames after a cut.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .mp3 import FRAME, LARGEST, after_id3, read_tag, walk
from .parts import Part, mapped

# Frames decoded before the crop. A frame's data may lie up to 511 bytes back: 8 frames at 32 kbit/s; twice that here.
_WARM_UP = 16
# mpg123 sums its synthesis window in an order that rotates with a period of 512 samples, and adding in another order
# changes the last bit: a cut begins at a multiple of 4 frames, which are 9 · 512 samples.
_PERIOD = 4


@dataclass(frozen=True)
class _Index:
    """Byte positions of the audio frames and of the end of the last, and what is dropped before sample 0."""

    places: np.ndarray
    dropped: int
    samples: int


def cut_mp3(
    path: str, state: os.stat_result, part: Part, start: int, frames: int, total: int
) -> tuple[bytes, int] | None:
    """A stream that holds samples ``start`` … ``start + frames``, and how many decoded samples come before them.

    Args:
        path: an mp3 file.
        state: of the file.
        part: of the file.
        start, frames: in samples per channel, of that part.
        total: length of the part in samples per channel.

    Returns:
        None where the part is no plain sequence of MPEG-1 frames, or does not agree with ``total``.
    """
    index = _index(path, part, state.st_size, state.st_mtime_ns)
    if index is None or index.samples != total or start + frames > total:
        return None
    first = max(0, (start + index.dropped) // FRAME - _WARM_UP)
    first -= first % _PERIOD
    last = min(len(index.places) - 1, -(-(start + frames + index.dropped) // FRAME) + 1)
    if last <= first:
        return None
    begin, end = int(index.places[first]), int(index.places[last])
    with open(path, "rb") as file:  # noqa: PTH123
        file.seek(begin)
        piece = file.read(end - begin)
    # libsndfile estimates the length from the size of the first frame and reads no further.
    return piece.ljust((last - first) * LARGEST, b"\0"), start + index.dropped - first * FRAME


@lru_cache(maxsize=16)
def _index(path: str, part: Part, size: int, changed: int) -> _Index | None:
    """Walks through the part; ``size`` and ``changed`` make it anew when the file is another."""
    with mapped(path) as data:
        first = part.begin or after_id3(data, 0)
        places, place = walk(data, first)
        if not places or data[first + 1] >> 3 & 3 != 3:
            return None
        if part.end is not None and place > part.end:
            places = places[: int(np.searchsorted(places, part.end))]
            place = part.end
        places.append(place)
        tag = read_tag(part.head, 0) or read_tag(data, first)
        if tag is None:
            return _Index(np.array(places), 0, (len(places) - 1) * FRAME)
        if not part.head:
            places = places[1:]  # the first frame holds nothing but the tag
        return _Index(np.array(places), tag.delay, (len(places) - 1) * FRAME - tag.delay - tag.padding)
