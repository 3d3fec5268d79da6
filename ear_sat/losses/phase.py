"""The phase terms: correlation (cosine of the phase error) and its derivatives over time and frequency.

Both look at bins where estimate and target are above the floor; the others are inactive and weigh 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import check_choice
from .angle import phase_difference, summed_step
from .power import power_of
from .spectra import SpectraPair, parse_components
from .stft import FLOOR, Resolution, split
from .term import DEFAULT_HOP_FACTOR, DEFAULT_WINDOWS, SpectralTerm

BIN_WEIGHTINGS = ("none", "magnitude")
WRAPPINGS = ("principal", "none")
#: Smallest sum of bin weights; only reached without any active bin, where the term is 0.
WEIGHT_GUARD = 1e-8


class PhaseError(NamedTuple):
    """Phase error Δφ and the weights of the bins, both real (batch, channels, bins, frames).

    angle: radians in [−π, π], the estimate's phase less the target's.
    weight: 0 where inactive.
    """

    angle: Tensor
    weight: Tensor


def phase_error(preds: Tensor, target: Tensor, bin_weighting: str = "magnitude") -> PhaseError:
    """Phase error of complex spectra (batch, channels, bins, frames).

    ``bin_weighting``: ``"none"``, 1 in every active bin; ``"magnitude"``, |Y| scaled to mean 1 over the active bins of
    each clip and channel.
    """
    return _error_of_planes(split(preds), split(target), bin_weighting)


def _error_of_planes(preds: Tensor, target: Tensor, bin_weighting: str) -> PhaseError:
    angle = phase_difference(preds, target)
    with torch.no_grad():
        power, reference = power_of(preds), power_of(target)
        # 1 above the floor, else 0; several times faster in floats than in booleans.
        weight = F.threshold(torch.minimum(power, reference), FLOOR**2, 0).sign_()
        if bin_weighting == "magnitude":
            active = weight.sum(dim=(-2, -1), keepdim=True).clamp_min_(1)
            weight *= reference.sqrt_()
            weight /= (weight.sum(dim=(-2, -1), keepdim=True) / active).clamp_min_(FLOOR)
    return PhaseError(angle, weight)


def _total(weight: Tensor) -> Tensor:
    """Σw per clip and channel, above 0."""
    return weight.sum(dim=(-2, -1)).clamp_min(WEIGHT_GUARD)


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Σwv/Σw per clip and channel, 0 where nothing is active; then the mean."""
    return ((values * weight).sum(dim=(-2, -1)) / _total(weight)).mean()


def correlation_loss(error: PhaseError) -> Tensor:
    """Σw(1 − cos Δφ)/Σw: 0 in phase, 1 unrelated, 2 in opposite phase; the paper's correlation loss.

    >>> y = torch.ones(1, 1, 4, 4, dtype=torch.complex64)
    >>> correlation_loss(phase_error(y, y)).item(), correlation_loss(phase_error(-y, y)).item()
    (0.0, 2.0)
    """
    return _weighted(1 - error.angle.cos(), error.weight)


def derivative_loss(error: PhaseError, dim: int) -> Tensor:
    """Weighted mean of |difference of the phase error along ``dim``|, wrapped to (−π, π].

    ``dim`` −1 (frames) compares instantaneous frequency, −2 (bins) group delay. A pair of bins weighs their geometric
    mean.
    """
    n = error.angle.shape[dim]
    if n < 2:
        return error.angle.sum() * 0.0
    weight = (error.weight.narrow(dim, 1, n - 1) * error.weight.narrow(dim, 0, n - 1)).sqrt_()
    return (summed_step(error.angle, weight, dim) / _total(weight)).mean()


def unwrapped_derivative_loss(preds: Tensor, target: Tensor, weight: Tensor, dim: int) -> Tensor:
    """L1 between differences of wrapped phases, as the authors' later code has it; kept for comparison only.

    Differences are not wrapped back to (−π, π], so a delay of one sample already scores about 2.7 rad.
    """
    active = weight > 0
    n = preds.shape[dim]
    if n < 2:
        return preds.real.sum() * 0.0
    one = torch.ones((), dtype=preds.dtype, device=preds.device)
    phase, reference = (torch.angle(torch.where(active, s, one)) for s in (preds, target))
    distance = (phase.diff(dim=dim) - reference.diff(dim=dim)).abs()
    pair = (weight.narrow(dim, 1, n - 1) * weight.narrow(dim, 0, n - 1)).sqrt()
    return _weighted(distance, pair)


class _PhaseTerm(SpectralTerm):
    def __init__(
        self,
        windows: Sequence[int] = DEFAULT_WINDOWS,
        hop_factor: float = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "lr",
        bin_weighting: str = "magnitude",
    ) -> None:
        super().__init__(windows, hop_factor)
        self.components = parse_components(channels)
        self.bin_weighting = check_choice("bin_weighting", bin_weighting, BIN_WEIGHTINGS)

    def _error(self, pair: SpectraPair) -> PhaseError:
        """Both phase terms of a bundle share the error where they are configured alike."""
        key = ("phase_error", self.components, self.bin_weighting)
        shared = pair.preds.shared
        if key not in shared:
            preds, target = pair.preds.planes(self.components), pair.target.planes(self.components)
            shared[key] = _error_of_planes(preds, target, self.bin_weighting)
        return shared[key]


class CorrelationTerm(_PhaseTerm):
    """Loss type ``ear_correlation``; part ``correlation``.

    Args:
        windows, hop_factor: STFT resolutions, window in samples, hop as its fraction.
        channels: left and right (the paper); mid and side can be asked for, for comparison.
        bin_weighting: ``"magnitude"`` (ours; see the trials in the README) or ``"none"`` (the paper).
    """

    PARTS = ("correlation",)

    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        return {"correlation": correlation_loss(self._error(pair))} if "correlation" in parts else {}


class PhaseDerivativeTerm(_PhaseTerm):
    """Loss type ``ear_phase_derivative``; parts ``if`` (instantaneous frequency) and ``gd`` (group delay), radians.

    Args:
        windows, hop_factor, channels, bin_weighting: as in :class:`CorrelationTerm`.
        wrapping: ``"principal"`` wraps the differences to (−π, π]; ``"none"`` compares differences of wrapped phases,
            the form the authors later published, kept for comparison.
    """

    PARTS = ("if", "gd")

    def __init__(
        self,
        windows: Sequence[int] = DEFAULT_WINDOWS,
        hop_factor: float = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "lr",
        bin_weighting: str = "magnitude",
        wrapping: str = "principal",
    ) -> None:
        super().__init__(windows, hop_factor, channels, bin_weighting)
        self.wrapping = check_choice("wrapping", wrapping, WRAPPINGS)

    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        error = self._error(pair)
        dims = {"if": -1, "gd": -2}
        if self.wrapping == "principal":
            return {part: derivative_loss(error, dim) for part, dim in dims.items() if part in parts}
        preds, target = pair.preds.components(self.components), pair.target.components(self.components)
        return {
            part: unwrapped_derivative_loss(preds, target, error.weight, dim)
            for part, dim in dims.items()
            if part in parts
        }
