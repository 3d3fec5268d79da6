"""Brings audio of any rate, length and channel count into the form that an encoder takes, as the host does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import require_whole
from ..errors import UserError
from ..resampling import resampler


def prepare_batch(
    audio: Sequence[Tensor], sample_rates: int | Sequence[int], sample_rate: int, channels: int, hop: int
) -> Tensor:
    """Stacks recordings into one batch.

    Resamples with torchaudio's defaults, pads with zeros to the longest and on to a multiple of ``hop``; mono is copied
    to both channels, averaged for one channel, of more than two channels the first two are taken.

    Args:
        audio: recordings, (channels, time) or (time,) each.
        sample_rates: theirs in Hz; one for all, or one for each.
        sample_rate: of the result, in Hz.
        channels: of the result.
        hop: of which its length is a multiple, in samples.

    Returns:
        (len(audio), channels, time).

    Raises:
        UserError: a tensor of another shape or type, no audio at all, not one rate for each, or no torchaudio to
            resample with.

    >>> prepare_batch([torch.ones(1, 5), torch.ones(2, 9)], 8000, 8000, channels=2, hop=4).shape
    torch.Size([2, 2, 12])
    """
    rates = [sample_rates] * len(audio) if isinstance(sample_rates, int) else list(sample_rates)
    if not audio or len(rates) != len(audio):
        raise UserError(f"give at least one recording and a sample rate for each; got {len(audio)} and {len(rates)}")
    for rate in rates:
        require_whole("the sample rate of a recording", rate, at_least=1, unit="Hz")
    items = [_at_rate(_two_axes(item), rate, sample_rate) for item, rate in zip(audio, rates, strict=True)]
    longest = max(item.shape[-1] for item in items)
    length = longest + -longest % hop
    return torch.stack([_with_channels(F.pad(item, (0, length - item.shape[-1])), channels) for item in items])


def _two_axes(item: Tensor) -> Tensor:
    if item.ndim == 3 and item.shape[0] == 1:
        item = item[0]
    elif item.ndim == 1:
        item = item[None]
    if item.ndim != 2 or item.shape[0] == 0 or not item.is_floating_point():
        shape = f"{tuple(item.shape)} of {item.dtype}"
        raise UserError(f"a recording must have the shape (channels, time), floating point, not {shape}")
    return item


def _at_rate(item: Tensor, rate: int, target_rate: int) -> Tensor:
    if rate == target_rate:
        return item
    return resampler(rate, target_rate).to(item.device)(item)


def _with_channels(item: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return item.mean(0, keepdim=True)
    if channels == 2:
        return item.expand(2, -1) if item.shape[0] == 1 else item[:2]
    return item
