"""The magnitude term: log magnitude, spectral convergence and linear magnitude on mid, side, left and right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

import torch
from torch import Tensor

from ..checks import require_number
from ..config import check_choice
from ..value_types import HopFactor, OneOf, Range, Size, Window
from .spectra import Spectra, SpectraPair, parse_components
from .stft import FLOOR, Resolution
from .term import DEFAULT_HOP_FACTOR, DEFAULT_WINDOWS, SpectralTerm
from .weighting import WEIGHTING_MODES, WEIGHTINGS, WeightingFloor, bin_gain, check_weighting

#: Smallest denominator of the spectral convergence, relative to the loudest channel of the same clip and resolution
#: (−20 dB). Ours: without it a Side 60 dB down costs a few hundred, and a silent one explodes.
CONVERGENCE_GUARD = 0.1
#: Smallest denominator in absolute terms: root mean square over bins, −60 dBFS. Ours: a clip that is all but silent,
#: such as the end of a fade, would otherwise cost as much as a hundred loud ones.
CONVERGENCE_FLOOR = 1e-3
#: What ``log_floor_db`` counts from.
LOG_FLOOR_REFERENCES = ("full_scale", "clip")


def log_distance(preds: Tensor, target: Tensor, floor: float | Tensor = FLOOR) -> Tensor:
    """|ln max(|Ŷ|, floor) − ln max(|Y|, floor)| per bin, from magnitudes.

    >>> log_distance(torch.tensor([0.5]), torch.tensor([1.0])).exp().item()
    2.0
    """
    return (preds.clamp_min(floor).log() - target.clamp_min(floor).log()).abs()


def linear_distance(preds: Tensor, target: Tensor) -> Tensor:
    """||Ŷ| − |Y|| per bin, from magnitudes."""
    return (preds - target).abs()


def root_mean_square(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """√(mean w·v²) over bins and frames, its gradient 0 where all is 0. ``weight``: (bins, 1), of mean 1."""
    weighted = values if weight is None else values * weight.sqrt()
    return torch.linalg.vector_norm(weighted, dim=(-2, -1)) / (values.shape[-2] * values.shape[-1]) ** 0.5


class MagnitudeTerm(SpectralTerm):
    """Loss type ``ear_magnitude``; parts ``log``, ``convergence`` and ``linear``.

    Args:
        sample_rate: Hz, given by the model.
        windows: STFT windows in samples.
        hop_factor: hop as a fraction of the window.
        channels: stereo components, ``"mslr"`` or a list; a mono model uses its one channel.
        weighting: ``"k"`` (BS.1770), ``"a"`` (IEC 61672) or ``"none"``.
        weighting_mode: ``"prefilter"`` filters both signals before any STFT (the paper). ``"gain"`` puts the gain g on
            the bins of both spectra instead: cheaper, but a window of n samples has one bin for everything below
            1.5·rate/n, and so no bass. ``"bins"`` weighs the errors e of the bins, Σg²e/Σg²: an L1 distance between
            log magnitudes cancels a prefilter except at its floor.
        weighting_floor_db: least gain of the curve; see :class:`ear_sat.losses.weighting.Weighting`.
        log_floor_db: the floor of the part ``log`` in dB. Bins of estimate and target below it count as if they were at
            it: what is quieter is not compared, and a bin that the estimate has below it gets no gradient.
        log_floor_reference: what the floor counts from. ``"full_scale"``: amplitude 1. ``"clip"``: the root mean square
            of the target's bins, of each clip, component and resolution for itself, guarded as ``convergence`` is.

    Each part is a mean over clips, components and resolutions:
        log: mean |ln max(|Ŷ|, floor) − ln max(|Y|, floor)|.
        convergence: ‖|Ŷ|−|Y|‖ / max(‖Y‖, guard) per clip and component, Frobenius norms over bins and frames; the guard
            is −20 dB of the clip's loudest channel, and −60 dBFS at least.
        linear: mean ||Ŷ|−|Y||.
    """

    PARTS = ("log", "convergence", "linear")

    def __init__(
        self,
        sample_rate: Size,
        windows: Sequence[Window] = DEFAULT_WINDOWS,
        hop_factor: HopFactor = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "mslr",
        weighting: Annotated[str, OneOf(WEIGHTINGS)] = "k",
        weighting_mode: Annotated[str, OneOf(WEIGHTING_MODES)] = "prefilter",
        weighting_floor_db: WeightingFloor | None = None,
        log_floor_db: Annotated[float, Range(at_least=-100, at_most=0, unit="dB")] = -100,
        log_floor_reference: Annotated[str, OneOf(LOG_FLOOR_REFERENCES)] = "full_scale",
    ) -> None:
        super().__init__(windows, hop_factor)
        require_number("log_floor_db", log_floor_db, at_least=-100, at_most=0, unit="dB")
        self.log_floor = 10 ** (log_floor_db / 20)
        self.log_floor_reference = check_choice("log_floor_reference", log_floor_reference, LOG_FLOOR_REFERENCES)
        self.components = parse_components(channels)
        self.weighting = weighting
        self.weighting_mode = check_choice("weighting_mode", weighting_mode, WEIGHTING_MODES)
        curve = check_weighting(weighting, sample_rate, weighting_floor_db)
        if weighting_mode == "prefilter" and weighting != "none":
            self.prefilter = curve
        for resolution in self.resolutions:
            gain = (
                None
                if weighting_mode == "prefilter"
                else bin_gain(weighting, resolution.window, sample_rate, weighting_floor_db)
            )
            self.register_buffer(
                f"gain_{resolution.window}", None if gain is None else gain.unsqueeze(-1), persistent=False
            )

    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        gain: Tensor | None = getattr(self, f"gain_{resolution.window}")
        weight: Tensor | None = None
        if gain is not None and self.weighting_mode == "bins":
            weight, gain = gain.square() / gain.square().mean(), None

        def heard(spectra: Spectra, names: Sequence[str]) -> Tensor:
            return spectra.magnitude(names) if gain is None else spectra.magnitude(names) * gain

        def mean(distance: Tensor) -> Tensor:
            return (distance if weight is None else distance * weight).mean()

        preds, target = heard(pair.preds, self.components), heard(pair.target, self.components)
        values: dict[str, Tensor] = {}
        floor: float | Tensor = self.log_floor
        if "convergence" in parts or self.log_floor_reference == "clip":
            # Mid and side are never louder than the louder of left and right.
            every = {"left", "right"} <= set(self.components) or pair.target.channels.shape[1] == 1
            loudest = target if every else heard(pair.target, ("left", "right"))
            level = _guarded(root_mean_square(target, weight), root_mean_square(loudest, weight))
            if "convergence" in parts:
                values["convergence"] = (root_mean_square(preds - target, weight) / level).mean()
            if self.log_floor_reference == "clip":
                floor = floor * level[..., None, None]
        if "log" in parts:
            values["log"] = mean(log_distance(preds, target, floor))
        if "linear" in parts:
            values["linear"] = mean(linear_distance(preds, target))
        return values


def _guarded(level: Tensor, channels: Tensor) -> Tensor:
    """Levels of the target's components, (batch, components), or the guard where they are below that.

    ``channels``: the levels among which the loudest is the guard's reference.
    """
    guard = CONVERGENCE_GUARD * channels.amax(dim=1, keepdim=True)
    return torch.maximum(level, guard.clamp_min(CONVERGENCE_FLOOR))
