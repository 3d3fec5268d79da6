"""Changes to a crop that leave the music what it is: gain, polarity, left and right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import require_flag
from ..errors import UserError


@dataclass(frozen=True)
class Augmentation:
    """Random gain, polarity and channel order; off by default.

    Args:
        gain_db: [lowest, highest] gain in dB, uniform between them. A gain that would clip the crop is lowered to the
            one that brings it to full scale.
        flip_polarity: turn the sign of all channels with probability ½.
        swap_channels: exchange left and right with probability ½.

    Raises:
        UserError: a value of another kind.

    >>> crop = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    >>> (10 * Augmentation(gain_db=[6.0206, 6.0206])(crop, np.random.default_rng(0))).round().tolist()
    [[2.0, 4.0], [6.0, 8.0]]
    """

    gain_db: Sequence[float] | None = None
    flip_polarity: bool = False
    swap_channels: bool = False

    def __post_init__(self) -> None:
        require_flag("flip_polarity", self.flip_polarity)
        require_flag("swap_channels", self.swap_channels)
        if self.gain_db is None:
            return
        bounds = self.gain_db
        numbers = isinstance(bounds, list | tuple) and all(
            isinstance(bound, int | float) and not isinstance(bound, bool) and math.isfinite(bound) for bound in bounds
        )
        if not numbers or len(bounds) != 2 or bounds[0] > bounds[1]:
            raise UserError(f"gain_db must be [lowest, highest] in dB, such as [-6, 3], not {bounds!r}")

    def __call__(self, audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``audio`` (C, n) changed; every option draws its own number, whether the others are on or off."""
        level, flip, swap = rng.random(3)
        if self.gain_db is not None:
            low, high = self.gain_db
            gain = 10 ** ((low + (high - low) * level) / 20)
            peak = float(np.abs(audio).max(initial=0.0))
            if gain * peak > 1:
                gain = max(min(gain, 1.0), 1 / peak)
            audio = np.float32(gain) * audio
        if self.flip_polarity and flip < 0.5:
            audio = -audio
        if self.swap_channels and swap < 0.5:
            audio = audio[::-1]
        return audio
