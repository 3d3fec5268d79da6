"""Which channel is which: one table of orders by container, codec and mask, the downmix and the loudness weights.

Positions are named as in ITU-R BS.775: L, R, C, LFE, Ls and Rs at the sides, Lb, Rb and Cb behind, Lc and Rc between
centre and sides of the front. A layout is a tuple of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

Layout: TypeAlias = tuple[str, ...]

#: By the bits of a wav file's channel mask (WAVEFORMATEXTENSIBLE, dwChannelMask). What is read comes in this order.
_MASK = ("L", "R", "C", "LFE", "Lb", "Rb", "Lc", "Rc", "Cb", "Ls", "Rs", *(f"top{number}" for number in range(7)))
#: RFC 9639, 9.1.3: by the number of channels.
_FLAC = {
    3: "L R C",
    4: "L R Lb Rb",
    5: "L R C Lb Rb",
    6: "L R C LFE Lb Rb",
    7: "L R C LFE Cb Ls Rs",
    8: "L R C LFE Lb Rb Ls Rs",
}
#: Vorbis I, 4.3.9, and RFC 7845, 5.1.1.2, of Opus. libsndfile hands them over in this order.
_VORBIS = {
    3: "L C R",
    4: "L R Lb Rb",
    5: "L C R Lb Rb",
    6: "L C R Lb Rb LFE",
    7: "L C R Ls Rs Cb LFE",
    8: "L C R Ls Rs Lb Rb LFE",
}
#: Where a file of six channels says nothing, it is taken for 5.1 in the order of wav, as players do.
_UNSAID = {1: "C", 2: "L R", 6: "L R C LFE Lb Rb"}
#: Ours for libsndfile's names in the layouts of caf and aiff (Apple's CoreAudioTypes).
_APPLE = {
    **{"Lf": "L", "Lfront": "L", "Rf": "R", "Rfront": "R", "Cf": "C", "Lfe": "LFE", "Cs": "Cb", "Cr": "Cb"},
    **{"Rear": "Cb", "Lr": "Lb", "Lrear": "Lb", "Rls": "Lb", "Rr": "Rb", "Rrear": "Rb", "Rrs": "Rb"},
}
_MASK_NOTE = re.compile(r"^ *Channel Mask *: 0x([0-9A-F]+)", re.MULTILINE)
_LAYOUT_NOTE = re.compile(r"^ *Layout : .*\((.*)\)", re.MULTILINE)
_MASK_COMMENT = re.compile(rb"WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0x([0-9A-F]+)", re.IGNORECASE)
_OPUS_FAMILY = re.compile(rb"OpusHead.{10}(.)", re.DOTALL)

# ITU-R BS.775-3, annex 4, table 2: 3/2 and 3/1 to 2/0; the LFE is dropped. It knows no 7.1: both pairs are surrounds.
_HALF = 0.5**0.5
_STEREO = {
    **{"L": (1.0, 0.0), "R": (0.0, 1.0), "C": (_HALF, _HALF), "LFE": (0.0, 0.0), "Cb": (0.5, 0.5)},
    **{"Ls": (_HALF, 0.0), "Lb": (_HALF, 0.0), "Rs": (0.0, _HALF), "Rb": (0.0, _HALF)},
}


def layout_of(container: str, codec: str, channels: int, notes: str, head: bytes) -> Layout:
    """The positions of a file's channels as libsndfile hands them over; empty where the file does not say.

    Args:
        container, codec: libsndfile's names for them.
        channels: how many there are.
        notes: libsndfile's log of the file.
        head: the first bytes of the file, at least so many as its first tags take.
    """
    layout: Layout
    if channels <= 2:
        layout = _row(_UNSAID, channels)
    elif codec in ("VORBIS", "OPUS"):
        family = _OPUS_FAMILY.search(head) if codec == "OPUS" else None
        spoken = family is None or family[1] == b"\1"  # others are Ambisonics, or mean nothing
        layout = _row(_VORBIS, channels) if spoken else ()
    elif container == "FLAC":
        comment = _MASK_COMMENT.search(head)
        layout = _row(_FLAC, channels) if comment is None else _of_mask(int(comment[1], 16))
    elif (mask := _MASK_NOTE.search(notes)) and int(mask[1], 16):
        layout = _of_mask(int(mask[1], 16))
    elif apple := _LAYOUT_NOTE.search(notes):
        names = [name.strip() for name in apple[1].split(",") if name.strip()]
        if names.count("R") == 2:  # libsndfile's misprint of 7.1 C
            names[len(names) - 1 - names[::-1].index("R")] = "Rs"
        layout = tuple(_APPLE.get(name, name) for name in names)
    else:
        layout = _row(_UNSAID, channels)
    known = len(layout) == channels == len(set(layout)) and set(layout) <= set(_MASK)
    return layout if known else ()


def _row(table: Mapping[int, str], channels: int) -> Layout:
    return tuple(table.get(channels, "").split())


def _of_mask(mask: int) -> Layout:
    return tuple(name for bit, name in enumerate(_MASK) if mask >> bit & 1)


def wav_order(layout: Layout) -> list[int]:
    """Where each channel of the order of wav lies in ``layout``.

    >>> wav_order(("L", "C", "R", "Ls", "Rs", "LFE"))
    [0, 2, 1, 5, 3, 4]
    """
    return sorted(range(len(layout)), key=lambda channel: _MASK.index(layout[channel]))


def can_be_mixed(layout: Layout) -> bool:
    """Whether :func:`mix_channels` can make stereo of it."""
    return bool(layout) and set(layout) <= set(_STEREO)


def mix_channels(audio: np.ndarray, channels: int, layout: Layout | None = None) -> np.ndarray:
    """Brings (C, T) to ``channels`` = 1 or 2: mono is copied, stereo averaged, others downmixed per ITU-R BS.775.

    ``layout`` is the order of more than two channels; by default they are 5.1 in the order of wav.

    Raises:
        ValueError: there is no rule for the layout; see :func:`can_be_mixed`.

    >>> mix_channels(np.array([[1.0, 2.0]]), 2).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    if audio.shape[0] > 2:
        layout = _row(_UNSAID, len(audio)) if layout is None else layout
        if not can_be_mixed(layout) or len(layout) != len(audio):
            raise ValueError(f"no rule for mixing {len(audio)} channels, {' '.join(layout) or 'of unknown positions'}")
        audio = np.array([_STEREO[name] for name in layout], np.float32).T @ audio
    if audio.shape[0] == channels:
        return audio
    return np.repeat(audio, 2, axis=0) if channels == 2 else audio.mean(axis=0, keepdims=True)


def loudness_weights(layout: Layout) -> list[float]:
    """Weights of the channels' energies, ITU-R BS.1770-4, table 4: by their angle, none for the LFE.

    >>> loudness_weights(("L", "R", "C", "LFE", "Lb", "Rb"))
    [1.0, 1.0, 1.0, 0.0, 1.41, 1.41]
    """
    # Where there is a pair at the sides (90°), the one behind stands at 135°; else it is the surround pair, at 110°.
    surround = {"Ls", "Rs"} if "Ls" in layout else {"Lb", "Rb"}
    return [0.0 if name == "LFE" else 1.41 if name in surround else 1.0 for name in layout]
