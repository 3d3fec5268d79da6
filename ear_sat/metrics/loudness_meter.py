"""Loudness of a signal that arrives in blocks: its K-weighted energy per tenth of a second is all that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt
from torch import Tensor

from ..weighting import k_weighting_biquads

STEPS_PER_SECOND = 10
"""Blocks of both standards begin every 0.1 s: 75 % overlap of the gating blocks, and EBU Tech 3342's 10 Hz."""
GATING_STEPS, SHORT_TERM_STEPS = 4, 30  # blocks of 0.4 s (BS.1770-4) and of 3 s (EBU Tech 3342)
ABSOLUTE_GATE_LUFS = -70.0
INTEGRATED_GATE_LU, RANGE_GATE_LU = -10.0, -20.0  # relative to the mean of the blocks above the absolute gate
OFFSET_LUFS = -0.691  # BS.1770-4, equation 2: a 997 Hz sine then reads its level
PERCENTILES = (0.10, 0.95)  # EBU Tech 3342
CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)  # BS.1770-4, table 3: L, R, C, Ls, Rs
MAX_CHANNELS = len(CHANNEL_WEIGHTS)


class LoudnessMeter:
    """Integrated loudness and loudness range of everything :meth:`feed` was given.

    Args:
        sample_rate: in Hz.
        channels: 1 to 5: L, R, C, Ls, Rs; with ``weights`` any number.
        weights: of the channels' energies; by default those of that order.

    Raises:
        ValueError: another number of channels, or of weights.

    >>> import torch
    >>> sine = torch.sin(2 * torch.pi * 997 / 48000 * torch.arange(4 * 48000)).expand(2, -1)
    >>> meter = LoudnessMeter(48000, channels=2)
    >>> for block in sine.split(10000, dim=-1):
    ...     meter.feed(block)
    >>> round(meter.integrated_lufs + 0.0, 2), round(meter.range_lu, 2)
    (0.0, 0.0)
    """

    def __init__(self, sample_rate: int, channels: int, weights: Sequence[float] | None = None) -> None:
        if weights is None and 1 <= channels <= MAX_CHANNELS:
            weights = CHANNEL_WEIGHTS[:channels]
        if weights is None or len(weights) != channels:
            raise ValueError(f"channels must be 1 to {MAX_CHANNELS} (L, R, C, Ls, Rs), not {channels}")
        self.sample_rate = sample_rate
        self.samples = 0
        self._sections = np.stack(k_weighting_biquads(sample_rate))
        self._state = np.zeros((len(self._sections), channels, 2))
        self._weights = np.array(weights)
        self._energies: list[float] = []  # per step, K-weighted, the channels' weighted sum

    def feed(self, block: Tensor) -> None:
        """Takes the next samples, (channels, time), full scale 1."""
        if block.shape[-1] == 0:
            return
        steps, starts = steps_of_block(self.samples, block.shape[-1], self.sample_rate)
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity go through to the result
            weighted, self._state = sosfilt(self._sections, block.double().cpu().numpy(), zi=self._state)
            np.square(weighted, out=weighted)
            energies = self._weights @ np.add.reduceat(weighted, starts, axis=1)
        self._energies.extend([0.0] * (steps.stop - len(self._energies)))
        for step, energy in zip(steps, energies.tolist(), strict=True):  # the first step may have begun before
            self._energies[step] += energy
        self.samples += block.shape[-1]

    @property
    def integrated_lufs(self) -> float:
        """Integrated, gated loudness in LUFS; NaN if undefined.

        It is undefined where nothing is above −70 LUFS, for less than 0.4 s, and for NaN or infinite samples.
        """
        powers = self._gated_powers(GATING_STEPS, INTEGRATED_GATE_LU)
        return OFFSET_LUFS + 10 * math.log10(powers.mean()) if len(powers) else math.nan

    @property
    def range_lu(self) -> float:
        """Loudness range in LU; NaN if undefined: as the integrated loudness, but for less than 3 s."""
        powers = np.sort(self._gated_powers(SHORT_TERM_STEPS, RANGE_GATE_LU))
        if not len(powers):
            return math.nan
        # Rank p·n, as ffmpeg counts; (n − 1)·p + 1 in the standard's example, one block more at the low end.
        low, high = (powers[max(1, int(p * len(powers) + 0.5)) - 1] for p in PERCENTILES)
        return float(10 * math.log10(high / low))

    def _gated_powers(self, steps: int, relative_gate: float) -> NDArray[np.float64]:
        """Mean squares of the blocks above both gates; blocks have so many steps, and an incomplete one is left out."""
        energies = np.array(self._energies)
        complete = self.samples * STEPS_PER_SECOND // self.sample_rate
        if complete < steps or not np.isfinite(energies).all():
            return np.zeros(0)
        blocks = np.lib.stride_tricks.sliding_window_view(energies[:complete], steps).sum(axis=1)
        powers = blocks / (steps / STEPS_PER_SECOND * self.sample_rate)
        powers = powers[powers >= 10 ** ((ABSOLUTE_GATE_LUFS - OFFSET_LUFS) / 10)]
        return powers[powers >= powers.mean() * 10 ** (relative_gate / 10)] if len(powers) else powers


def steps_of_block(first: int, length: int, sample_rate: int) -> tuple[range, list[int]]:
    """The tenths of a second that a block of a signal touches, and where in the block each of them begins.

    Where the rate is no multiple of ten, steps differ by a sample.

    Args:
        first: number of samples before the block.
        length: of the block in samples, at least 1.
        sample_rate: in Hz.

    >>> steps_of_block(150, 200, 1000)
    (range(1, 4), [0, 50, 150])
    """

    def step_of(sample: int) -> int:
        return ((sample + 1) * STEPS_PER_SECOND - 1) // sample_rate

    steps = range(step_of(first), step_of(first + length - 1) + 1)
    return steps, [max(0, step * sample_rate // STEPS_PER_SECOND - first) for step in steps]
