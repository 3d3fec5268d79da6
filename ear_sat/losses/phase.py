"""The phase terms: correlation (cosine of the phase error), complex distance, and the phase error's derivatives.

The phase error is that of bins where estimate and target are above the floor; the others are inactive and weigh 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor

from ..config import check_choice
from ..errors import UserError
from ..value_types import HopFactor, OneOf, Window
from .levels import guard, root_mean_square
from .spectra import SpectraPair, parse_components
from .stft import FLOOR, Resolution
from .term import DEFAULT_HOP_FACTOR, DEFAULT_WINDOWS, SpectralTerm

BIN_WEIGHTINGS = ("none", "magnitude")
FORMS = ("wrapped", "phasor")
WRAPPINGS = ("principal", "none")
#: Smallest sum of bin weights; only reached without any active bin, where the term is 0.
WEIGHT_GUARD = 1e-8


class PhaseError:
    """Where the estimate's phase stands from the target's; real or complex (batch, channels, bins, frames).

    Args:
        cross: Ŷ·Y*, a constant where inactive.
        weight: of the bins, 0 where inactive.
    """

    def __init__(self, cross: Tensor, weight: Tensor) -> None:
        self.cross = cross
        self.weight = weight

    @cached_property
    def angle(self) -> Tensor:
        """Δφ, radians in [−π, π]."""
        return self.cross.angle()

    @cached_property
    def phasor(self) -> Tensor:
        """E = ŶY*/|ŶY*|, complex and of modulus 1."""
        return self.cross.sgn()


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
    return PhaseError(torch.where(active, preds * target.conj(), 1), weight)


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
    if error.weight.shape[dim] < 2:
        return error.angle.sum() * 0.0
    step = error.angle.diff(dim=dim)
    step = step - 2 * torch.pi * (step / (2 * torch.pi)).round()
    return _weighted(step.abs(), _pair_weight(error.weight, dim))


def phasor_derivative_loss(error: PhaseError, dim: int) -> Tensor:
    """Weighted mean of 1 − Re(E_n·E*_{n−1}) along ``dim``, 0 to 2: 1 − cos of what :func:`derivative_loss` compares.

    With U the unit phasor of the estimate's step, Ŷ_n·Ŷ*_{n−1}, and V of the target's, it is 1 − Re(U·V*): no angle is
    taken, so none has to be wrapped. Computed as |E_n − E_{n−1}|²/2, the same for unit phasors, which does not cancel.

    >>> y = torch.ones(1, 1, 4, 4, dtype=torch.complex64)
    >>> flips = torch.tensor([1, -1, 1, -1])
    >>> phasor_derivative_loss(phase_error(y * flips, y), -1).item()
    2.0
    """
    if error.weight.shape[dim] < 2:
        return error.cross.real.sum() * 0.0
    step = torch.view_as_real(error.phasor.diff(dim=dim)).square().sum(-1) / 2
    return _weighted(step, _pair_weight(error.weight, dim))


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


def complex_distance(preds: Tensor, target: Tensor, least: Tensor) -> Tensor:
    """mean ln(|Ŷ − Y|²/σ² + 1) of complex spectra (batch, components, bins, frames).

    σ² = mean|Ŷ|² + mean|Y|² over bins and frames, and 2·``least``² at least, is a constant to the gradient. ``least``
    broadcasts to (batch, components).

    >>> y = torch.ones(1, 1, 4, 4, dtype=torch.complex64)
    >>> [round(complex_distance(x, y, torch.tensor(1e-3)).exp().item(), 5) for x in (y, 0 * y, -y)]
    [1.0, 2.0, 3.0]
    """
    with torch.no_grad():
        scale = torch.maximum(torch.hypot(root_mean_square(preds), root_mean_square(target)), 2**0.5 * least)
    return ((preds - target).abs() / scale[..., None, None]).square().log1p().mean()


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
    """Loss type ``ear_correlation``; parts ``correlation`` and ``complex``.

    Args:
        windows, hop_factor: STFT resolutions, window in samples, hop as its fraction.
        channels: left and right (the paper); mid and side can be asked for, for comparison.
        bin_weighting: of ``correlation``: ``"magnitude"`` (ours; the trials stand in docs/explanation/weights.md) or
            ``"none"`` (paper).

    Parts:
        correlation: Σw(1 − cos Δφ)/Σw.
        complex: mean ln(|Ŷ−Y|²/σ² + 1), σ² = mean|Ŷ|² + mean|Y|² per clip, component and resolution; magnitude and
            phase at once, and no bin owns it. After the host's from 0.0.20 on; the guard of σ is ``ear_magnitude``'s.
            Above it, a gain of both signals changes nothing.
    """

    PARTS = ("correlation", "complex")

    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        values = {}
        if "correlation" in parts:
            values["correlation"] = correlation_loss(self._error(pair))
        if "complex" in parts:
            preds, target = pair.preds.components(self.components), pair.target.components(self.components)
            least = guard(root_mean_square(pair.target.components(("left", "right"))))
            values["complex"] = complex_distance(preds, target, least)
        return values


class PhaseDerivativeTerm(_PhaseTerm):
    """Loss type ``ear_phase_derivative``; parts ``if`` (instantaneous frequency) and ``gd`` (group delay).

    Args:
        windows, hop_factor, channels, bin_weighting: as in :class:`CorrelationTerm`.
        form: ``"wrapped"``: L1 of the wrapped differences, radians (the paper). ``"phasor"``: 1 − cos of them, 0 to 2,
            from products of unit phasors (the host's from 0.0.20 on); weighted in the same way.
        wrapping: of the form ``"wrapped"``: ``"principal"`` wraps the differences to (−π, π]; ``"none"`` compares
            differences of wrapped phases, the form the authors later published, kept for comparison.

    Raises:
        UserError: a value that is none, or ``"none"`` beside ``"phasor"``.
    """

    PARTS = ("if", "gd")

    def __init__(
        self,
        windows: Sequence[Window] = DEFAULT_WINDOWS,
        hop_factor: HopFactor = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "lr",
        bin_weighting: Annotated[str, OneOf(BIN_WEIGHTINGS)] = "magnitude",
        form: Annotated[str, OneOf(FORMS)] = "wrapped",
        wrapping: Annotated[str, OneOf(WRAPPINGS)] = "principal",
    ) -> None:
        super().__init__(windows, hop_factor, channels, bin_weighting)
        self.form = check_choice("form", form, FORMS)
        self.wrapping = check_choice("wrapping", wrapping, WRAPPINGS)
        if form == "phasor" and wrapping == "none":
            raise UserError(
                '"wrapping": "none" belongs to "form": "wrapped"; phasors have no angle to wrap, leave it out'
            )

    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        error = self._error(pair)
        dims = {"if": -1, "gd": -2}
        if self.wrapping == "principal":
            loss = derivative_loss if self.form == "wrapped" else phasor_derivative_loss
            return {part: loss(error, dim) for part, dim in dims.items() if part in parts}
        preds, target = pair.preds.components(self.components), pair.target.components(self.components)
        return {
            part: unwrapped_derivative_loss(preds, target, error.weight, dim)
            for part, dim in dims.items()
            if part in parts
        }
