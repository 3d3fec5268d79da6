"""Choices of a reconstruction, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import require_number, require_whole
from ..compute import PRECISIONS
from ..config import check_choice
from ..errors import UserError
from ..models.reconstruction import DEFAULT_CHUNK_SECONDS

#: Name → libsndfile's subtype.
SUBTYPES = {"pcm24": "PCM_24", "float": "FLOAT"}
PEAKS = ("clip", "keep", "scale")
CHANNELS = ("error", "downmix", "first", "each")


@dataclass(frozen=True)
class Settings:
    """How files are reconstructed.

    Args:
        subtype: ``pcm24`` or ``float``, the samples of the wav files.
        peaks: what becomes of samples above full scale: ``clip``, ``keep`` (``float`` only), or ``scale`` the file down
            until its highest peak is at full scale. None: ``clip`` for ``pcm24``, ``keep`` for ``float``.
        channels: what becomes of more than two channels: ``error``, ``downmix`` (surround to stereo per ITU-R BS.775),
            ``first`` (the first two), or ``each`` by itself as mono, which keeps the layout.
        sample: decode a draw from the posterior instead of its mean.
        seed: of that draw, the same for each file.
        precision, compiled: of the model; see :func:`ear_sat.models.optimize_for_inference`.
        chunk_seconds, batch_size, attention_seconds: see :func:`ear_sat.models.reconstruct_blocks`.

    Raises:
        UserError: a value that is none of these, or values that exclude each other.
    """

    subtype: str = "pcm24"
    peaks: str | None = None
    channels: str = "error"
    sample: bool = False
    seed: int = 0
    precision: str = "32"
    compiled: bool = False
    chunk_seconds: float = DEFAULT_CHUNK_SECONDS
    batch_size: int = 1
    attention_seconds: float | None = None

    def __post_init__(self) -> None:
        check_choice("subtype", self.subtype, SUBTYPES)
        check_choice("choice of channels", self.channels, CHANNELS)
        check_choice("precision", self.precision, PRECISIONS)
        if self.peaks is not None:
            check_choice("choice of peaks", self.peaks, PEAKS)
        if self.peaks == "keep" and self.subtype != "float":
            raise UserError("24-bit PCM cannot keep peaks above full scale; use --subtype float, or clip or scale them")
        require_whole("--batch-size", self.batch_size, at_least=1)
        for what, seconds in (("chunk", self.chunk_seconds), ("attention", self.attention_seconds)):
            if seconds is not None:
                require_number(f"--{what}-seconds", seconds, above=0)

    @property
    def peak_policy(self) -> str:
        """:attr:`peaks`, or what it is by default."""
        return self.peaks or ("keep" if self.subtype == "float" else "clip")
