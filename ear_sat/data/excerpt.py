"""A file that a user names, or a part of it, as a tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .parts import UnusableFileError
from .reading import open_header, read_crop


def read_excerpt(
    path: Path, channels: int, sample_rate: int | None = None, start: float = 0.0, seconds: float | None = None
) -> tuple[Tensor, int]:
    """What a file holds from ``start`` on, float32 (channels, time), and its rate in Hz.

    Args:
        path: wav, flac, mp3, ogg, opus or aiff.
        channels: 1 or 2; see :func:`.layouts.mix_channels`.
        sample_rate: Hz; another one than the file's is resampled (soxr). None for the file's.
        start, seconds: of the excerpt in seconds; ``seconds`` None for all of it.

    Raises:
        UserError: the file cannot be read, or ends before ``start``.
    """
    try:
        file = open_header(str(path))
        rate = sample_rate or file.sample_rate
        first = round(start * rate)
        left = file.length_at(rate) - first
        if left <= 0:
            raise UserError(f"{path} ends before {start:g} s; give an earlier --start")
        audio = read_crop(file, first, left if seconds is None else min(left, round(seconds * rate)), rate, channels)
        if not np.isfinite(audio).all():
            raise UnusableFileError("it holds NaN or infinite samples")
    except UnusableFileError as error:
        raise UserError(f"cannot read {path}: {error}; give a wav, flac, mp3, ogg or aiff file") from None
    return torch.from_numpy(np.ascontiguousarray(audio)), rate
