"""Sample peak, clipping, silence and DC of a signal that arrives in blocks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..metrics.loudness_meter import steps_of_block

FULL_SCALE = 1 - 2.0**-15
"""The greatest positive sample of 16 bits; anything from there on may have been cut off."""
CLIPPED_SAMPLES = 3
"""Consecutive samples at full scale that make a clipped run: one or two happen without clipping."""
SILENCE_DBFS = -60.0
"""A tenth of a second whose peak is not above this is silent; ``ear_audio`` redraws crops of that level."""


class LevelMeter:
    """Levels of everything :meth:`feed` was given.

    >>> meter = LevelMeter(sample_rate=1000, channels=1)
    >>> meter.feed(torch.cat((torch.zeros(1, 300), torch.full((1, 100), 1.0)), dim=1))
    >>> meter.sample_peak_dbfs, meter.clipped_runs, meter.silence_share, meter.dc
    (0.0, 1, 0.75, 0.25)
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self.samples = 0
        self.clipped_runs = 0
        """Runs of at least three consecutive samples of one channel at full scale, of all channels together."""
        self._peak = 0.0
        self._sums = torch.zeros(channels, dtype=torch.float64)
        self._step_peaks: list[float] = []
        self._clipped = torch.zeros(channels, CLIPPED_SAMPLES, dtype=torch.bool)  # the last samples

    def feed(self, block: Tensor) -> None:
        """Takes the next samples, (channels, time), full scale 1."""
        magnitudes = block.abs()
        steps, starts = steps_of_block(self.samples, block.shape[-1], self.sample_rate)
        peaks = np.maximum.reduceat(magnitudes.amax(dim=0).numpy(), starts)
        self._step_peaks.extend([0.0] * (steps.stop - len(self._step_peaks)))
        for step, peak in zip(steps, peaks.tolist(), strict=True):
            self._step_peaks[step] = max(peak, self._step_peaks[step])
        block_peak = float(magnitudes.amax())
        self._peak = max(block_peak, self._peak)
        self._sums += block.sum(dim=-1, dtype=torch.float64)
        if block_peak >= FULL_SCALE or self._clipped.any():
            self._count_clipped(magnitudes >= FULL_SCALE)
        self.samples += block.shape[-1]

    def _count_clipped(self, clipped: Tensor) -> None:
        clipped = torch.cat((self._clipped, clipped), dim=-1)
        windows = clipped.unfold(-1, CLIPPED_SAMPLES + 1, 1)  # a run begins after a sample that is not clipped
        self.clipped_runs += int((windows[..., 1:].all(dim=-1) & ~windows[..., 0]).sum())
        self._clipped = clipped[:, -CLIPPED_SAMPLES:]

    @property
    def finite(self) -> bool:
        """Whether no sample was NaN or infinite; where one was, the other values mean nothing."""
        return bool(self._sums.isfinite().all())

    @property
    def sample_peak_dbfs(self) -> float:
        """Greatest magnitude in dBFS; −inf for nothing but zeros."""
        return 20 * math.log10(self._peak) if self._peak != 0 else -math.inf

    @property
    def silence_share(self) -> float:
        """Share of the tenths of a second whose peak is not above −60 dBFS; NaN of nothing."""
        limit = 10 ** (SILENCE_DBFS / 20)
        return sum(peak <= limit for peak in self._step_peaks) / len(self._step_peaks) if self._step_peaks else math.nan

    @property
    def dc(self) -> float:
        """Mean of the samples, of the channel where it is greatest in magnitude; full scale 1, NaN of nothing."""
        return float(max(self._sums.tolist(), key=abs)) / self.samples if self.samples else math.nan
