"""Constant offset between an estimate and its target: is the pair aligned at all?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .clips import check_signal, is_finite, is_silent

MAX_OFFSET = 24000
"""Half a second: encoders of mp3, AAC and Opus delay by 300 to 2300 samples, players' gaps by some thousand."""
WHITENING = 0.5
"""Exponent by which the cross-spectrum's magnitude is flattened: 0 leaves plain correlation, whose peak is as broad as
the bass is deep, 1 the phase transform, which gives inaudible bins the same voice. Ours, from real codec output."""
RIVAL_DISTANCE = 64
"""Lags this close to the peak, 1.5 ms, belong to it; the others are its rivals."""
LEAST_CONFIDENCE = 0.2
"""Below it the offset is unknown. Unrelated music and noise of 0.1 s and more scored up to 0.15; codec output and
shifted music above 0.6, from 1 s on."""
LEAST_SAMPLES = 2048
"""Shorter clips are aligned or unknown: too few samples to tell a likeness from chance."""
LEAST_GAIN_DB = 0.25
"""An offset that improves the error by less is no offset: at 11 dB SI-SDR the phase errors of a codec move the peak by
a sample or two for 0.05 dB."""
LEAST_CORRELATION = 0.3
"""From this correlation on (SI-SDR −10 dB) an unshifted pair may be called aligned."""


class Offset(NamedTuple):
    """What :func:`offset_samples` found.

    Attributes:
        samples: by how many samples the estimate is late, negative if early: ``preds[n + samples]`` belongs to
            ``target[n]``. None if unknown: silence, NaN, unrelated signals, an offset beyond the range, or repetition
            that fits at several offsets.
        confidence: in [0, 1], how far the peak of the cross-correlation stands out: 1 − (highest rival) / peak.
    """

    samples: int | None
    confidence: float


def offset_samples(preds: Tensor, target: Tensor, max_offset: int = MAX_OFFSET) -> Offset:
    """Offset of the estimate against the target by cross-correlation, whatever their gains and polarities.

    The cross-correlations of the channels, whitened half-way, are added up in blocks over the whole length and their
    magnitudes over the channels; the offset is the lag of the highest peak. It is 0 where the samples themselves
    correlate and no shift betters their error by 0.25 dB: codecs smear phases, which moves the peak by a sample or two.
    Memory beyond the signals depends on ``max_offset``, not on their length.

    Args:
        preds: the estimate, (channels, time).
        target: the reference, (channels, time); its length may differ.
        max_offset: largest offset in samples that is looked for, either way.

    Raises:
        ValueError: shapes or types do not fit, or ``max_offset`` is below 1.

    Source: Knapp and Carter 1976, generalised cross-correlation.

    >>> noise = torch.randn(2, 30000, generator=torch.Generator().manual_seed(0))
    >>> offset_samples(-0.5 * noise[:, :-100], noise[:, 100:]).samples, offset_samples(0 * noise, noise)
    (100, Offset(samples=None, confidence=0.0))
    """
    check_signal("preds", preds, 1)
    check_signal("target", target, 1)
    if preds.dim() != 2 or target.dim() != 2 or len(preds) != len(target):
        raise ValueError(
            "preds and target must be two clips (channels, time) with the same number of channels, not "
            f"{tuple(preds.shape)} and {tuple(target.shape)}"
        )
    if max_offset < 1:
        raise ValueError(f"max_offset must be at least one sample, not {max_offset}")
    with torch.no_grad():
        preds, target = preds.float(), target.float()
        if is_silent(preds) or is_silent(target) or not is_finite(preds) or not is_finite(target):
            return Offset(None, 0.0)
        # Beyond the range too: a peak at its edge may be the flank of a higher one, and a short range has few rivals.
        reach = max(max_offset + RIVAL_DISTANCE, LEAST_SAMPLES)
        peaks = _cross_correlation(preds, target, reach).abs().sum(0)
        place = int(peaks.argmax())
        lag, peak = place - reach, peaks[place].item()
        rivals = torch.cat((peaks[: max(0, place - RIVAL_DISTANCE)], peaks[place + RIVAL_DISTANCE + 1 :]))
        confidence = 1 - rivals.max().item() / peak if len(rivals) and peak > 0 else 0.0
        if _is_aligned(preds, target, lag):
            return Offset(0, confidence)
        enough = min(preds.shape[-1], target.shape[-1]) >= LEAST_SAMPLES and confidence >= LEAST_CONFIDENCE
        return Offset(lag if enough and abs(lag) <= max_offset else None, confidence)


def _is_aligned(preds: Tensor, target: Tensor, lag: int) -> bool:
    """True if the samples correlate without a shift, and shifting by ``lag`` gains next to nothing."""
    unshifted, shifted = _correlation(preds, target, 0), _correlation(preds, target, lag)
    gain = (1 - unshifted**2) / max(1 - shifted**2, 1e-12)
    return unshifted >= LEAST_CORRELATION and 10 * math.log10(max(gain, 1e-12)) < LEAST_GAIN_DB


def _correlation(preds: Tensor, target: Tensor, lag: int) -> float:
    """|Σ preds[n + lag]·target[n]| relative to its bound, where both exist; channels by magnitude, in [0, 1]."""
    length = min(preds.shape[-1] - max(0, lag), target.shape[-1] - max(0, -lag))
    if length < 1:
        return 0.0
    p = preds[:, max(0, lag) :][:, :length]
    t = target[:, max(0, -lag) :][:, :length]
    channels = [(torch.dot(a, b), torch.dot(a, a) * torch.dot(b, b)) for a, b in zip(p, t, strict=True)]
    bound = sum(energies.sqrt().item() for _, energies in channels)
    return sum(product.abs().item() for product, _ in channels) / bound if bound > 0 else 0.0


def _cross_correlation(preds: Tensor, target: Tensor, max_offset: int) -> Tensor:
    """Whitened cross-correlation per channel at the lags −max_offset … max_offset: (channels, 2·max_offset + 1)."""
    size = max(1 << 15, 1 << math.ceil(math.log2(4 * max_offset + 1)))
    block = size - 2 * max_offset
    total = torch.zeros(len(target), 2 * max_offset + 1, dtype=torch.float64, device=target.device)
    for start in range(0, target.shape[-1], block):
        reference = torch.fft.rfft(target[:, start : start + block], size)
        # All samples of the estimate that a lag in range brings to this block of the target.
        cross = torch.fft.rfft(_excerpt(preds, start - max_offset, size)) * reference.conj()
        cross /= cross.abs().clamp_min(torch.finfo(cross.real.dtype).tiny) ** WHITENING
        total += torch.fft.irfft(cross, size)[:, : 2 * max_offset + 1]
    return total


def _excerpt(signal: Tensor, start: int, length: int) -> Tensor:
    """``signal[:, start : start + length]`` with zeros where the signal has no samples."""
    inside = signal[:, max(0, start) : max(0, start + length)]
    before = min(length, max(0, -start))
    return F.pad(inside, (before, length - before - inside.shape[-1]))
