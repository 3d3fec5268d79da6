"""The highest frequency with content: it gives away up-sampled and lossy sources."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 4096  # samples; 11 Hz per bin at 44.1 kHz
BELOW_PEAK_DB = 80.0
"""Content is what the mean spectrum holds within this distance of its loudest bin. Music falls by 40 to 65 dB from its
bass to 19 kHz; what resamplers and codecs leave above their cutoff lies 100 dB and more below."""
LOWEST_DBFS = -118.0
"""… and above this level per bin: the noise of dithered 16-bit samples lies at −126."""


class BandwidthMeter:
    """The long-term mean spectrum of everything :meth:`feed` was given: Hann frames of 4096 samples, side by side.

    Magnitudes are averaged, not powers: a single click would otherwise fill the spectrum of a whole track. A full-scale
    sine reads 0 dBFS in its bin, white noise of 0 dBFS −32.

    >>> meter = BandwidthMeter(sample_rate=44100, channels=1)
    >>> phase = 2 * torch.pi * 5000 / 44100 * torch.arange(44100, dtype=torch.float64)
    >>> meter.feed(phase.sin().float()[None])
    >>> 5000 <= meter.bandwidth_hz < 5300  # where the window's leakage is 80 dB down
    True
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self._window = torch.hann_window(SIZE)
        self._sums = torch.zeros(SIZE // 2 + 1, dtype=torch.float64)
        self._frames = 0
        self._rest = torch.zeros(channels, 0)

    def feed(self, block: Tensor) -> None:
        """Takes the next samples, (channels, time), float32, full scale 1."""
        samples = torch.cat((self._rest, block), dim=-1)
        whole = samples.shape[-1] // SIZE * SIZE
        self._rest = samples[:, whole:]
        self._add(samples[:, :whole])

    def _add(self, samples: Tensor) -> None:
        if not samples.numel():  # some FFT libraries refuse to transform nothing
            return
        frames = samples.reshape(-1, SIZE)
        self._sums += torch.fft.rfft(frames * self._window).abs().sum(dim=0)
        self._frames += len(frames)

    @property
    def bandwidth_hz(self) -> float:
        """The highest frequency with content, to the nearest bin; NaN where there is none."""
        if self._frames == 0 and self._rest.numel():  # shorter than a frame
            self._add(F.pad(self._rest, (0, SIZE - self._rest.shape[-1])))
        if self._frames == 0:
            return math.nan
        levels = 20 * torch.log10(self._sums / self._frames / (self._window.sum() / 2))
        present = (levels >= max(LOWEST_DBFS, float(levels.max()) - BELOW_PEAK_DB)).nonzero()
        return int(present[-1]) * self.sample_rate / SIZE if len(present) else math.nan
