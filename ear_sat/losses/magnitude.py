"""The magnitude term: log magnitude, spectral convergence and linear magnitude on mid, side, left and right."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..config import check_choice
from ..errors import UserError
from .power import LINEAR, SQUARED, TINY_POWER, log_distance, summed_distance
from .spectra import SpectraPair, parse_components
from .stft import Resolution
from .term import DEFAULT_HOP_FACTOR, DEFAULT_WINDOWS, SpectralTerm
from .weighting import WEIGHTING_MODES, bin_gain, check_weighting

#: Smallest denominator of the spectral convergence, relative to the loudest channel of the same clip and resolution
#: (−20 dB). Ours: without it a Side 60 dB down costs a few hundred, and a silent one explodes.
CONVERGENCE_GUARD = 0.1
#: Smallest denominator in absolute terms: root mean square over bins, −60 dBFS. Ours: a clip that is all but silent,
#: such as the end of a fade, would otherwise cost as much as a hundred loud ones.
CONVERGENCE_FLOOR = 1e-3
#: What ``log_floor_db`` counts from.
LOG_FLOOR_REFERENCES = ("full_scale", "clip")


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
        sample_rate: int,
        windows: Sequence[int] = DEFAULT_WINDOWS,
        hop_factor: float = DEFAULT_HOP_FACTOR,
        channels: str | Sequence[str] = "mslr",
        weighting: str = "k",
        weighting_mode: str = "prefilter",
        weighting_floor_db: float | None = None,
        log_floor_db: float = -100,
        log_floor_reference: str = "full_scale",
    ) -> None:
        super().__init__(windows, hop_factor)
        number = isinstance(log_floor_db, int | float) and not isinstance(log_floor_db, bool)
        if not (number and -100 <= log_floor_db <= 0):
            raise UserError(f"log_floor_db is the level of silence in dB, from -100 to 0; got {log_floor_db!r}")
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
            power = None if gain is None else gain.square().unsqueeze(-1)
            self.register_buffer(f"power_gain_{resolution.window}", power, persistent=False)

    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        gain: Tensor | None = getattr(self, f"power_gain_{resolution.window}")
        preds, target = pair.preds.power(self.components), pair.target.power(self.components)
        weight: Tensor | None = None
        if gain is not None and self.weighting_mode == "gain":
            preds, target = preds * gain, target * gain
        elif gain is not None:
            weight = gain / gain.mean()
        values: dict[str, Tensor] = {}
        bins_and_frames = preds.shape[-2] * preds.shape[-1]
        level: Tensor | None = None
        if "convergence" in parts or self.log_floor_reference == "clip":
            loudest = target
            if not {"left", "right"} <= set(self.components) and pair.target.channels.shape[1] == 2:
                # Mid and side are never louder than the louder of left and right.
                loudest = pair.target.power(("left", "right"))
                if gain is not None and weight is None:
                    loudest = loudest * gain
            level = _guarded_level(target, loudest, weight)
        if "log" in parts:
            floor: float | Tensor = self.log_floor
            if self.log_floor_reference == "clip":
                assert level is not None
                floor = floor * level[..., None, None]
            values["log"] = summed_distance(preds, target, log_distance(floor), weight).mean() / bins_and_frames
        if "linear" in parts:
            values["linear"] = summed_distance(preds, target, LINEAR, weight).mean() / bins_and_frames
        if "convergence" in parts:
            assert level is not None
            # The square root's gradient is infinite at 0; the shift keeps the distance of equal signals at exactly 0.
            distance = summed_distance(preds, target, SQUARED, weight).clamp_min(TINY_POWER).sqrt() - TINY_POWER**0.5
            values["convergence"] = (distance / (level * bins_and_frames**0.5)).mean()
        return values


def _guarded_level(target: Tensor, loudest: Tensor, weight: Tensor | None) -> Tensor:
    """Root mean square of the target's bins, (batch, components), or the guard where it is below that.

    ``loudest``: powers of the target's components among which the loudest is the guard's reference.
    """
    power, loudest_power = ((p if weight is None else p * weight).mean(dim=(-2, -1)) for p in (target, loudest))
    # The loudest component of the clip guards the quiet ones; the floor guards silence.
    guard = CONVERGENCE_GUARD * loudest_power.amax(dim=1, keepdim=True).sqrt()
    return torch.maximum(power.sqrt(), guard.clamp_min(CONVERGENCE_FLOOR))
