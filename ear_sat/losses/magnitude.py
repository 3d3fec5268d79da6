"""The magnitude term: log, spectral convergence and contrast, and linear, on mid, side, left and right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

import torch
from torch import Tensor

from ..checks import require_number
from ..config import check_choice
from ..errors import UserError
from ..value_types import HopFactor, OneOf, Range, Size, Window
from .levels import guard, root_mean_square, spread
from .spectra import Spectra, SpectraPair, parse_components
from .stft import FLOOR, Resolution
from .term import DEFAULT_HOP_FACTOR, DEFAULT_WINDOWS, SpectralTerm
from .weighting import WEIGHTING_MODES, WEIGHTINGS, WeightingFloor, bin_gain, check_weighting

#: Floor of the part ``log``; see :data:`ear_sat.losses.stft.FLOOR`.
DEFAULT_LOG_FLOOR_DB = -100
LOG_FORMS = ("floor", "adaptive")
#: What ``log_floor_db`` counts from.
LOG_FLOOR_REFERENCES = ("full_scale", "clip")


def log_distance(preds: Tensor, target: Tensor, floor: float | Tensor = FLOOR) -> Tensor:
    """|ln max(|Ŷ|, floor) − ln max(|Y|, floor)| per bin, from magnitudes.

    >>> log_distance(torch.tensor([0.5]), torch.tensor([1.0])).exp().item()
    2.0
    """
    return (preds.clamp_min(floor).log() - target.clamp_min(floor).log()).abs()


def adaptive_log_distance(preds: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """|ln(|Ŷ|/σ + 1) − ln(|Y|/σ + 1)| per bin, from magnitudes; ``scale``, σ, broadcasts.

    Magnitudes count from :data:`ear_sat.losses.stft.FLOOR` up: a bin of digital silence would otherwise pull as hard as
    any other below σ, in the direction of its rounding.

    >>> adaptive_log_distance(torch.tensor([0.3]), torch.tensor([0.1]), torch.tensor(0.1)).exp().item()
    2.0
    """
    preds, target = preds.clamp_min(FLOOR), target.clamp_min(FLOOR)
    return ((preds / scale).log1p() - (target / scale).log1p()).abs()


def linear_distance(preds: Tensor, target: Tensor) -> Tensor:
    """||Ŷ| − |Y|| per bin, from magnitudes."""
    return (preds - target).abs()


class MagnitudeTerm(SpectralTerm):
    """Loss type ``ear_magnitude``; parts ``log``, ``convergence``, ``contrast`` and ``linear``.

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
        log_form: of the part ``log``. ``"floor"`` compares plain logarithms above a floor. ``"adaptive"`` (the host's
            from 0.0.20 on) compares ln(|·|/σ + 1): bins well below σ count by their magnitudes, as in ``linear``, so
            that a prefilter moves weight between them and silence does not own the gradient.
        log_floor_db: the floor of the part ``log`` in dB. Bins of estimate and target below it count as if they were at
            it: what is quieter is not compared, and a bin that the estimate has below it gets no gradient.
        log_floor_reference: what the floor counts from. ``"full_scale"``: amplitude 1. ``"clip"``: the root mean square
            of the target's bins, of each clip, component and resolution for itself, guarded. It and ``log_floor_db``
            belong to the form ``"floor"``.

    Each part is a mean over clips, components and resolutions:
        log: mean |ln max(|Ŷ|, floor) − ln max(|Y|, floor)|, or mean |ln(|Ŷ|/σ + 1) − ln(|Y|/σ + 1)| with
            σ = max(√(var|Ŷ| + var|Y|), √2·guard) over bins and frames, a constant to the gradient; there, too, what is
            below −100 dBFS counts as if it were at it.
        convergence: ‖|Ŷ|−|Y|‖ / max(‖Y‖, guard).
        contrast: ‖|Ŷ|−|Y|‖ / max(‖|Ŷ|+|Y|‖, 2·guard), 1 at most; a target that is silent has no pull above the guard.
        linear: mean ||Ŷ|−|Y||.

    Norms are root mean squares over bins and frames, of each clip, component and resolution for itself. The guard is
    −20 dB of the clip's loudest channel, and −60 dBFS at least; above it, a gain of both signals changes neither the
    adaptive log nor convergence nor contrast.

    Raises:
        UserError: a value that is none, or a key of ``"floor"`` beside ``"adaptive"``.
    """

    PARTS = ("log", "convergence", "contrast", "linear")

    def __init__(
        self,
        sample_rate: Size,
        windows: Sequence[Window] = DEFAULT_WINDOWS,
        hop_factor: HopFactor = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "mslr",
        weighting: Annotated[str, OneOf(WEIGHTINGS)] = "k",
        weighting_mode: Annotated[str, OneOf(WEIGHTING_MODES)] = "prefilter",
        weighting_floor_db: WeightingFloor | None = None,
        log_form: Annotated[str, OneOf(LOG_FORMS)] = "floor",
        log_floor_db: Annotated[float, Range(at_least=-100, at_most=0, unit="dB")] = DEFAULT_LOG_FLOOR_DB,
        log_floor_reference: Annotated[str, OneOf(LOG_FLOOR_REFERENCES)] = LOG_FLOOR_REFERENCES[0],
    ) -> None:
        super().__init__(windows, hop_factor)
        require_number("log_floor_db", log_floor_db, at_least=-100, at_most=0, unit="dB")
        self.log_floor = 10 ** (log_floor_db / 20)
        self.log_floor_reference = check_choice("log_floor_reference", log_floor_reference, LOG_FLOOR_REFERENCES)
        self.log_form = check_choice("log_form", log_form, LOG_FORMS)
        floored = (log_floor_db, log_floor_reference) != (DEFAULT_LOG_FLOOR_DB, LOG_FLOOR_REFERENCES[0])
        if log_form == "adaptive" and floored:
            raise UserError(
                'log_floor_db and log_floor_reference belong to "log_form": "floor"; leave them out with "adaptive", '
                "whose scale follows the signals"
            )
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
        # Mid and side are never louder than the louder of left and right.
        every = {"left", "right"} <= set(self.components) or pair.target.channels.shape[1] == 1
        level = root_mean_square(target, weight)
        least = guard(level if every else root_mean_square(heard(pair.target, ("left", "right")), weight))
        values: dict[str, Tensor] = {}
        if "log" in parts and self.log_form == "adaptive":
            with torch.no_grad():
                scale = torch.maximum(torch.hypot(spread(preds, weight), spread(target, weight)), 2**0.5 * least)
            values["log"] = mean(adaptive_log_distance(preds, target, scale[..., None, None]))
        elif "log" in parts:
            clip = torch.maximum(level, least)[..., None, None] if self.log_floor_reference == "clip" else 1.0
            values["log"] = mean(log_distance(preds, target, self.log_floor * clip))
        if "convergence" in parts:
            norm = torch.maximum(level, least)
            values["convergence"] = (root_mean_square(preds - target, weight) / norm).mean()
        if "contrast" in parts:
            norm = torch.maximum(root_mean_square(preds + target, weight), 2 * least)
            values["contrast"] = (root_mean_square(preds - target, weight) / norm).mean()
        if "linear" in parts:
            values["linear"] = mean(linear_distance(preds, target))
        return values
