"""SI-SDR per octave band: where in the spectrum does a codec fail?"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from .clips import SILENCE_PEAK, mean_defined, over_pairs

# Nominal and exact mid-band frequencies of IEC 61260-1, base ten: 1000·10^(0.3·k) Hz, k = −5…4.
_NOMINAL = ("31hz", "63hz", "125hz", "250hz", "500hz", "1khz", "2khz", "4khz", "8khz", "16khz")
OCTAVES: dict[str, float] = {f"si_sdr_{name}_db": 1000 * 10 ** (0.3 * (k - 5)) for k, name in enumerate(_NOMINAL)}
"""Mid-band frequency in Hz by the name of the band's metric. The first, nominal 31.5 Hz, takes all below it as well,
the last all above."""

LIMITS_DB = (-80.0, 100.0)
"""Range of a band's value: the broadband metric's least value, and more than any reconstruction reaches. The broadband
guard of 1e-8 is no use here: it would cap a quiet band, and with it an identical signal, at some 20 dB."""


def si_sdr_octaves_db(preds: Tensor, target: Tensor, sample_rate: int) -> dict[str, float]:
    """SI-SDR in octave bands, in dB from −80 to 100; higher is better, identity is 100.

    The clips, their means removed, are split by one FFT, zero-padded, into bands without overlap: zero phase, each bin
    of the spectrum in exactly one band, so that the bands sum to the clip and their powers to its power. In each band
    10·log10(‖αy‖² / ‖ŷ − αy‖²), α = ⟨ŷ, y⟩ / ‖y‖², per channel, then the mean over channels. α is fitted band by band,
    so that an equaliser is no error. Blind to: polarity and the gain of any band.

    Args:
        preds: the estimate, (channels, time) or (batch, channels, time), full scale 1.
        target: the reference, same shape.
        sample_rate: in Hz; places the bands.

    Returns:
        Mean over clips in dB by the keys of :data:`OCTAVES`; NaN if undefined: no energy of the target in the band (all
        channels at or below −120 dBFS RMS), a band above the Nyquist frequency, silent target, NaN or infinite samples.

    Raises:
        ValueError: shapes or types do not fit.

    Source: IEC 61260-1 for the frequencies; Le Roux et al. 2018 for the ratio.

    >>> time = torch.arange(8000) / 8000
    >>> low, high = torch.sin(2 * torch.pi * 125 * time), torch.sin(2 * torch.pi * 1000 * time)
    >>> error = 0.1 * torch.cos(2 * torch.pi * 1000 * time)
    >>> values = si_sdr_octaves_db((low + high + error)[None], (low + high)[None], 8000)
    >>> round(values["si_sdr_1khz_db"], 1), values["si_sdr_125hz_db"] > 40, values["si_sdr_8khz_db"]
    (20.0, True, nan)
    """
    clips = over_pairs(partial(_si_sdr_octaves, sample_rate=sample_rate), preds, target, sample_rate)
    return {name: mean_defined(clip[name] for clip in clips) for name in OCTAVES}


def _band(name: str, edges: str) -> Callable[[Tensor, Tensor, int], float]:
    def band(preds: Tensor, target: Tensor, sample_rate: int) -> float:
        return si_sdr_octaves_db(preds, target, sample_rate)[name]

    band.__name__ = band.__qualname__ = name
    band.__doc__ = (
        f"SI-SDR {edges} in dB; arguments and values as :func:`si_sdr_octaves_db`, which gives all bands at once."
    )
    return band


si_sdr_31hz_db = _band("si_sdr_31hz_db", "below 45 Hz")
si_sdr_63hz_db = _band("si_sdr_63hz_db", "in the octave around 63 Hz")
si_sdr_125hz_db = _band("si_sdr_125hz_db", "in the octave around 125 Hz")
si_sdr_250hz_db = _band("si_sdr_250hz_db", "in the octave around 250 Hz")
si_sdr_500hz_db = _band("si_sdr_500hz_db", "in the octave around 500 Hz")
si_sdr_1khz_db = _band("si_sdr_1khz_db", "in the octave around 1 kHz")
si_sdr_2khz_db = _band("si_sdr_2khz_db", "in the octave around 2 kHz")
si_sdr_4khz_db = _band("si_sdr_4khz_db", "in the octave around 4 kHz")
si_sdr_8khz_db = _band("si_sdr_8khz_db", "in the octave around 8 kHz")
si_sdr_16khz_db = _band("si_sdr_16khz_db", "above 11.2 kHz")


def _si_sdr_octaves(preds: Tensor, target: Tensor, sample_rate: int) -> dict[str, float]:
    by_channel = [_channel(p, t, sample_rate) for p, t in zip(preds, target, strict=True)]
    return {name: mean_defined(channel[name] for channel in by_channel) for name in OCTAVES}


def _channel(preds: Tensor, target: Tensor, sample_rate: int) -> dict[str, float]:
    """SI-SDR by band of one channel (time,)."""
    p, t = octave_spectra(preds, sample_rate), octave_spectra(target, sample_rate)
    silence = SILENCE_PEAK**2 * len(target)
    return {name: _si_sdr_db(p[name], t[name], silence) for name in OCTAVES}


def _si_sdr_db(preds: Tensor, target: Tensor, silence: float) -> float:
    """SI-SDR of two complex vectors; NaN if the target's power is at most ``silence``."""
    power = _inner(target, target)
    if power <= silence:
        return math.nan
    scaled = _inner(preds, target) / power * target
    signal, error = _inner(scaled, scaled), _inner(preds - scaled, preds - scaled)
    least, most = LIMITS_DB
    if signal <= 10 ** (least / 10) * error or signal == 0:
        return least
    return min(most, 10 * math.log10(signal / error)) if error > 0 else most


def octave_spectra(signal: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """The spectrum of one channel without its mean, cut into octave bands.

    Args:
        signal: (time,).
        sample_rate: in Hz.

    Returns:
        Complex double (bins,) by the keys of :data:`OCTAVES`, empty above Nyquist. Inner products of two bands are
        those of the bands' samples, and those of all bands sum to the inner product of the signals.

    >>> noise = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    >>> power = sum(band.abs().square().sum() for band in octave_spectra(noise, 44100).values())
    >>> round((power / (noise - noise.mean()).square().sum()).item(), 6)
    1.0
    """
    signal = signal.double()
    length = next_fast_len(max(2, len(signal)), real=True)
    length += length % 2
    spectrum = torch.fft.rfft(signal - signal.mean(), length)
    # rfft leaves out the mirrored half, whose products are the same; 0 Hz and Nyquist have no mirror image.
    spectrum *= math.sqrt(2 / length)
    spectrum[[0, -1]] *= math.sqrt(0.5)
    edges = [min(len(spectrum), math.ceil(hz * 10**-0.15 * length / sample_rate)) for hz in OCTAVES.values()]
    starts, stops = [0, *edges[1:]], [*edges[1:], len(spectrum)]
    return {name: spectrum[start:stop] for name, start, stop in zip(OCTAVES, starts, stops, strict=True)}


def _inner(a: Tensor, b: Tensor) -> float:
    """Re Σ a·b* of two complex vectors."""
    return torch.dot(torch.view_as_real(a).flatten(), torch.view_as_real(b).flatten()).item()
