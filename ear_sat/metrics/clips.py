"""What every metric shares: the check of its arguments, the split of a batch into clips, and the mean over clips.

A clip is a float32 waveform of shape (channels, time), full scale 1. A value that has no definition is NaN, never an
exception: one silent file must not end an evaluation, and must not count as 0 in a mean either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ..compute import outside_autocast

T = TypeVar("T")

SILENCE_PEAK = 1e-6
"""A signal that never exceeds this magnitude is silent: −120 dBFS, 30 dB below the least step of 16-bit audio."""


def check_signal(name: str, signal: Tensor, sample_rate: int) -> None:
    """Raises ValueError unless ``signal`` is a floating-point tensor (channels, time) or (batch, channels, time)."""
    if not isinstance(signal, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, not {type(signal).__name__}")
    if not signal.is_floating_point():
        raise ValueError(f"{name} must hold floating-point samples, full scale 1, not {signal.dtype}")
    if signal.dim() not in (2, 3):
        raise ValueError(
            f"{name} must have the shape (channels, time) or (batch, channels, time), not {tuple(signal.shape)}"
        )
    if not (math.isfinite(sample_rate) and sample_rate > 0):
        raise ValueError(f"sample_rate must be a positive number of Hz, not {sample_rate}")


def check_pair(preds: Tensor, target: Tensor, sample_rate: int) -> None:
    """Raises ValueError unless both are signals (see :func:`check_signal`) of one shape on one device.

    >>> check_pair(torch.zeros(2, 9), torch.zeros(2, 8), 44100)
    Traceback (most recent call last):
    ...
    ValueError: preds and target must have the same shape, not (2, 9) and (2, 8); trim both to the shorter one
    """
    check_signal("preds", preds, sample_rate)
    check_signal("target", target, sample_rate)
    if preds.shape != target.shape:
        raise ValueError(
            f"preds and target must have the same shape, not {tuple(preds.shape)} and {tuple(target.shape)}; "
            "trim both to the shorter one"
        )
    if preds.device != target.device:
        raise ValueError(f"preds and target must be on the same device, not {preds.device} and {target.device}")


def is_silent(signal: Tensor) -> bool:
    """True if no sample of ``signal`` (any shape) exceeds :data:`SILENCE_PEAK`; an empty signal is silent."""
    return _peak(signal) <= SILENCE_PEAK


def is_finite(signal: Tensor) -> bool:
    """True if no sample of ``signal`` (any shape) is NaN or infinite.

    >>> is_finite(torch.tensor([1.0, -2.0])), is_finite(torch.tensor([1.0, -math.inf])), is_finite(torch.zeros(2, 0))
    (True, False, True)
    """
    return math.isfinite(_peak(signal))


def mean_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if there is none.

    >>> mean_defined([1.0, math.nan, 3.0]), mean_defined([])
    (2.0, nan)
    """
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def over_pairs(measure: Callable[[Tensor, Tensor], T], preds: Tensor, target: Tensor, sample_rate: int) -> list[T]:
    """``measure(preds_clip, target_clip)`` for every pair of clips that can be measured at all.

    A pair with a NaN or infinite sample, or with a silent target, cannot. A silent estimate of a sounding target can:
    leaving it out would flatter a codec that fell silent.

    Args:
        measure: takes two float32 clips (channels, time); runs without gradients and without autocast.
        preds: the estimate, (channels, time) or (batch, channels, time).
        target: the reference, same shape and device.
        sample_rate: in Hz, only checked.

    Raises:
        ValueError: see :func:`check_pair`.
    """
    check_pair(preds, target, sample_rate)
    with torch.no_grad(), outside_autocast(preds.device.type):
        return [
            measure(p, t)
            for p, t in zip(_clips(preds), _clips(target), strict=True)
            if not is_silent(t) and is_finite(p) and is_finite(t)
        ]


def mean_over_pairs(
    metric: Callable[[Tensor, Tensor], float], preds: Tensor, target: Tensor, sample_rate: int
) -> float:
    """Mean of ``metric(preds_clip, target_clip)`` over the clips where it is defined, that is not NaN.

    Arguments and errors as :func:`over_pairs`.
    """
    return mean_defined(over_pairs(metric, preds, target, sample_rate))


def mean_over_clips(measure: Callable[[Tensor], float], signal: Tensor, sample_rate: int) -> float:
    """Mean of ``measure(clip)`` over the clips of one signal where it is defined: finite samples, not silent.

    Raises:
        ValueError: see :func:`check_signal`.
    """
    check_signal("signal", signal, sample_rate)
    with torch.no_grad():
        return mean_defined(measure(c) for c in _clips(signal) if not is_silent(c) and is_finite(c))


def _clips(signal: Tensor) -> Iterator[Tensor]:
    """The float32 clips (channels, time) of a checked signal."""
    return iter((signal if signal.dim() == 3 else signal[None]).float().unbind(0))


def _peak(signal: Tensor) -> float:
    """Greatest magnitude, NaN if a sample is; 0 of nothing. Unlike ``abs().amax()`` it needs no copy of the signal."""
    return max(-signal.amin().item(), signal.amax().item()) if signal.numel() else 0.0
