"""The phase terms: correlation (cosine of the phase error) and its derivatives over time and frequency.

Both look at bins where estimate and target are above the floor; the others are inactive and weigh 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from ..config import check_choice
from ..value_types import HopFactor, OneOf, Window
from .spectra import SpectraPair, parse_components
from .stft import FLOOR, Resolution
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
    """Phase error of complex spectra (batch, channels, bins, frames); gradients flow to the estimate's phase only.

    ``bin_weighting``: ``"none"``, 1 in every active bin; ``"magnitude"``, |Y| scaled to mean 1 over the active bins of
    each clip and channel.
    """
    with torch.no_grad():
        reference = target.abs()
        active = (preds.abs() > FLOOR) & (reference > FLOOR)
        weight = active.to(reference.dtype)
        if bin_weighting == "magnitude":
            weight *= reference
            mean = weight.sum(dim=(-2, -1), keepdim=True) / active.sum(dim=(-2, -1), keepdim=True).clamp_min(1)
            weight /= mean.clamp_min(FLOOR)
    # Constants in place of inactive bins, before the angle is taken: its gradient at 0 is not finite.
    angle = torch.where(active, preds * target.conj(), 1).angle()
    return PhaseError(angle, weight)


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Σwv/Σw per clip and channel, 0 where nothing is active; then the mean."""
    return ((values * weight).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1)).clamp_min(WEIGHT_GUARD)).mean()


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
    step = error.angle.diff(dim=dim)
    step = step - 2 * torch.pi * (step / (2 * torch.pi)).round()
    return _weighted(step.abs(), _pair_weight(error.weight, dim))


def _pair_weight(weight: Tensor, dim: int) -> Tensor:
    n = weight.shape[dim]
    return (weight.narrow(dim, 1, n - 1) * weight.narrow(dim, 0, n - 1)).sqrt()


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
    return _weighted(distance, _pair_weight(weight, dim))


class _PhaseTerm(SpectralTerm):
    def __init__(
        self,
        windows: Sequence[Window] = DEFAULT_WINDOWS,
        hop_factor: HopFactor = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "lr",
        bin_weighting: Annotated[str, OneOf(BIN_WEIGHTINGS)] = "magnitude",
    ) -> None:
        super().__init__(windows, hop_factor)
        self.components = parse_components(channels)
        self.bin_weighting = check_choice("bin_weighting", bin_weighting, BIN_WEIGHTINGS)

    def _error(self, pair: SpectraPair) -> PhaseError:
        """Both phase terms of a bundle share the error where they are configured alike."""

        def compute() -> PhaseError:
            preds, target = pair.preds.components(self.components), pair.target.components(self.components)
            return phase_error(preds, target, self.bin_weighting)

        return pair.preds.once(("phase error", self.components, self.bin_weighting), compute)


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
        windows: Sequence[Window] = DEFAULT_WINDOWS,
        hop_factor: HopFactor = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "lr",
        bin_weighting: Annotated[str, OneOf(BIN_WEIGHTINGS)] = "magnitude",
        wrapping: Annotated[str, OneOf(WRAPPINGS)] = "principal",
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
