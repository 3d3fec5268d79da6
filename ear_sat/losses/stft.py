"""The short-time Fourier transform of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import require_number
from ..errors import UserError

#: −100 dBFS: magnitudes below count as silence. From the design of the magnitude term.
FLOOR = 1e-5


class Resolution(NamedTuple):
    """Window length and hop length in samples."""

    window: int
    hop_length: int


def resolutions(windows: Sequence[int], hop_factor: float) -> list[Resolution]:
    """Checked resolutions of a term.

    >>> resolutions([512], 0.25)
    [Resolution(window=512, hop_length=128)]
    """
    numbers = isinstance(windows, Sequence) and all(isinstance(w, int | float) for w in windows)
    if not windows or not numbers or any(not 4 <= w < float("inf") or int(w) != w for w in windows):
        raise UserError(f"windows must be a list of whole numbers of samples, 4 or more; got {windows}")
    require_number("hop_factor, the hop as a fraction of the window,", hop_factor, above=0, at_most=1)
    return [Resolution(int(w), max(1, int(w * hop_factor))) for w in windows]


class STFT(nn.Module):
    """Hann-windowed STFT scaled by 4/window, so that a bin-centred sine away from DC and Nyquist reads its amplitude.

    Centred, reflect padding; a signal too short to reflect is padded with zeros up to one window first.

    Shapes: (..., time) → complex (..., bins, frames) with bins = window/2 + 1.

    >>> n = torch.arange(1024)
    >>> spectrum = STFT(Resolution(256, 64))(0.5 * torch.cos(2 * torch.pi * 32 / 256 * n)).abs()
    >>> round(spectrum[32, 8].item(), 4)
    0.5
    """

    window: Tensor

    def __init__(self, resolution: Resolution) -> None:
        super().__init__()
        self.resolution = resolution
        hann = torch.hann_window(resolution.window) * (4 / resolution.window)
        self.register_buffer("window", hann, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, hop = self.resolution
        signals = F.pad(x.float().reshape(-1, x.shape[-1]), (0, max(0, n - x.shape[-1])))
        spectrum = torch.stft(signals, n, hop, window=self.window, pad_mode="reflect", return_complex=True)
        return spectrum.reshape(*x.shape[:-1], *spectrum.shape[1:])
