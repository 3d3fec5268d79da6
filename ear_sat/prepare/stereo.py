"""How much of a stereo signal is mid and how much is side."""

from __future__ import annotations

import math

from torch import Tensor

DUAL_MONO_DB = 60.0
"""Mid above side by this much is one channel twice; dither or a lossy codec may have told the channels apart."""
MOST_DB = 120.0
"""The ratio is held within ± this: two equal channels have no side at all."""


class StereoMeter:
    """Energy of mid (L + R)/2 and side (L − R)/2 of everything :meth:`feed` was given.

    >>> import torch
    >>> meter = StereoMeter()
    >>> meter.feed(torch.tensor([[1.0, 1.0], [0.8, 0.8]]))  # mid 0.9, side 0.1
    >>> round(meter.mid_side_ratio_db, 2), meter.dual_mono
    (19.08, False)
    """

    def __init__(self) -> None:
        self._mid = self._side = 0.0

    def feed(self, block: Tensor) -> None:
        """Takes the next samples, (2, time), full scale 1."""
        left, right = block.double()
        self._mid += float((left + right).square().sum())
        self._side += float((left - right).square().sum())

    @property
    def mid_side_ratio_db(self) -> float:
        """Energy of mid over that of side in dB, held within ±120; NaN for silence."""
        if self._mid == self._side == 0:
            return math.nan
        if self._mid == 0 or self._side == 0:
            return MOST_DB if self._mid else -MOST_DB
        return max(-MOST_DB, min(MOST_DB, 10 * math.log10(self._mid / self._side)))

    @property
    def dual_mono(self) -> bool | None:
        """Whether both channels are the same but for a difference 60 dB below; None for silence."""
        ratio = self.mid_side_ratio_db
        return None if math.isnan(ratio) else ratio >= DUAL_MONO_DB
