"""The short-time Fourier transform of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

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
    if not isinstance(hop_factor, int | float) or not 0 < hop_factor <= 1:
        raise UserError(f"hop_factor is the hop as a fraction of the window, above 0 and at most 1; got {hop_factor}")
    return [Resolution(int(w), max(1, int(w * hop_factor))) for w in windows]


class _Frames(torch.autograd.Function):
    """X_k(t) = Σ_n w(n)·x(t·hop + n)·e^{−2πjkn/N}, bins 0 to N/2, no padding.

    The gradient is the adjoint: x(t·hop + n) collects w(n)·Re Σ_k G_k(t)·e^{2πjkn/N}, an inverse FFT of real output and
    an overlap-add. Autograd would run a complex FFT twice as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Tensor, hop: int) -> Tensor:
        ctx.save_for_backward(window)
        ctx.hop, ctx.time = hop, x.shape[-1]
        return torch.stft(x, window.numel(), hop, window=window, center=False, return_complex=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (window,) = ctx.saved_tensors
        n = window.numel()
        spectrum = grads[0].mT.clone(memory_format=torch.contiguous_format)
        # The inverse FFT counts all bins but DC and Nyquist twice and ignores the imaginary parts of these two.
        for k in (0, -1) if n % 2 == 0 else (0,):
            spectrum[..., k] = 2 * spectrum[..., k].real
        frames = torch.fft.irfft(spectrum, n, norm="forward").mul_(window / 2)
        return _overlap_add(frames, ctx.hop, ctx.time), None, None


def _overlap_add(frames: Tensor, hop: int, time: int) -> Tensor:
    """Sum of frames (signals, count, n) placed ``hop`` samples apart: (signals, time)."""
    signals, count, n = frames.shape
    hops = -(-n // hop)
    pieces = F.pad(frames, (0, hops * hop - n)).unflatten(-1, (hops, hop))
    total = frames.new_zeros(signals, count + hops - 1, hop)
    for i in range(hops):
        total[:, i : i + count] += pieces[:, :, i]
    return F.pad(total.flatten(1), (0, time - total[0].numel()))


def frame_spectra(x: Tensor, window: Tensor, hop: int) -> Tensor:
    """Spectra of windowed frames, without padding: (signals, time) → complex (signals, bins, frames)."""
    return _Frames.apply(x, window, hop)


class _Split(torch.autograd.Function):
    """Linear: the gradient is the way back."""

    @staticmethod
    def forward(ctx: Any, spectrum: Tensor) -> Tensor:
        # Transposed, because torch.stft lays the bins of a frame side by side.
        return torch.view_as_real(spectrum.resolve_conj().mT).movedim(-1, 0).contiguous().mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.complex(*grads[0])


def split(spectrum: Tensor) -> Tensor:
    """Real and imaginary planes (2, ..., bins, frames) of a complex spectrum (..., bins, frames).

    Each plane is in one piece, for which kernels are several times faster than for interleaved complex numbers.
    """
    return _Split.apply(spectrum)


class STFT(nn.Module):
    """Hann-windowed STFT scaled by 4/window, so that a bin-centred sine away from DC and Nyquist reads its amplitude.

    Centred, reflect padding; a signal too short to reflect is padded with zeros up to one window first.

    Shapes: (..., time) → complex (..., bins, frames) with bins = window/2 + 1. Differentiable once.

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
        padded = F.pad(x.float().reshape(-1, x.shape[-1]), (0, max(0, n - x.shape[-1])))
        padded = F.pad(padded, (n // 2, n // 2), mode="reflect")
        spectrum = frame_spectra(padded, self.window, hop)
        return spectrum.reshape(*x.shape[:-1], *spectrum.shape[1:])
