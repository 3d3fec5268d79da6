"""Short-time spectra, a few frames at a time: all spectral metrics are sums over frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_SAMPLES = 1 << 16
"""Samples that are transformed at once, over all channels. A block that fits into the processor's cache is about six
times as fast as ``torch.stft`` of the whole signal, and its spectra of a long track never lie in memory together."""


def stft_blocks(signal: Tensor, size: int) -> Iterator[Tensor]:
    """The unscaled STFT of ``signal`` in blocks of frames: centred, reflect padding, periodic Hann, hop a quarter.

    Args:
        signal: (channels, time), more than ``size / 2`` samples.
        size: window and FFT in samples, a multiple of 4.

    Yields:
        Complex (channels, frames, bins), bins = size/2 + 1; all blocks together hold the frames of
        ``torch.stft(signal, size, size // 4, window=torch.hann_window(size), return_complex=True)``.

    >>> blocks = list(stft_blocks(torch.randn(2, 44100), 1024))
    >>> len(blocks), torch.cat(blocks, 1).shape
    (6, torch.Size([2, 173, 513]))
    """
    window = torch.hann_window(size, device=signal.device, dtype=signal.dtype)
    padded = F.pad(signal[None], (size // 2, size // 2), mode="reflect")[0]
    frames = padded.unfold(-1, size, size // 4)
    for block in frames.split(max(1, BLOCK_SAMPLES // (size * max(1, len(signal)))), dim=1):
        yield torch.fft.rfft(block * window)


def power(spectrum: Tensor) -> Tensor:
    """|X|² of a complex tensor, without the square root that ``abs`` takes.

    >>> power(torch.tensor([3 + 4j])).item()
    25.0
    """
    parts = torch.view_as_real(spectrum)
    return parts[..., 0].square() + parts[..., 1].square()
