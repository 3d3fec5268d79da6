"""The logarithmic sweep of Farina, and what it tells: impulse response, magnitude, group delay, harmonics.

A sweep whose frequency grows exponentially, divided out of a device's answer, leaves the linear impulse response at its
delay and, earlier by L ln(n), that of the n-th harmonic: distortion does not disturb the linear response.

Sources: Farina, "Simultaneous measurement of impulse response and distortion with a swept-sine technique", AES 108,
2000; Novak, Lotton and Simon, "Synchronized swept-sine", JAES 63, 2015 (the choice of L).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .steady import BAND_HZ, Array, decibels, measurable

LOW_HZ = 5.0  # the sweep's start: two octaves below the band, so that its edge does not reach into it
HIGH = 0.99  # the sweep's end and …
TOP = 0.92  # … the upper end of what is reported, parts of Nyquist (20 kHz at 44.1 kHz and above)
TAIL_SECONDS = 0.6  # silence after the sweep, in which the device rings out
BEFORE, AFTER, EDGE = 0.3, 0.3, 0.1  # seconds: window of the impulse response around its peak, and its faded edges
HARMONICS = (2, 3, 4, 5)
HARMONIC_HALF = 0.06  # seconds; the responses of the 4th and the 5th harmonic lie 0.13 s apart
KEPT = (-0.05, 0.1)  # seconds of the impulse response around its peak that are reported
POINTS_PER_OCTAVE = 48
SMOOTHING = 6  # bands of a sixth of an octave
GATE = 10.0  # least ratio of powers of response and noise where a value is reported …
CLEAR = 100.0  # … and of the impulse's peak and noise: noise alone comes to about 20


@dataclass(frozen=True)
class Sweep:
    """Attributes: ``signal`` (time,) with silence around; ``efold``: seconds in which the frequency grows e times."""

    signal: Array
    sample_rate: int
    efold: float


def exponential_sweep(sample_rate: int, level_dbfs: float, lead_seconds: float, seconds: float = 5.0) -> Sweep:
    """About ``seconds`` from 5 Hz to 0.99 Nyquist, after ``lead_seconds`` of silence.

    The phase at each harmonic's start is that of the sweep (LOW_HZ · efold is whole), so harmonics keep their sign.

    >>> sweep = exponential_sweep(44100, -20.0, lead_seconds=0.25)
    >>> sweep.efold, round(float(np.abs(sweep.signal).max()), 3), round(len(sweep.signal) / 44100, 1)
    (0.6, 0.1, 5.9)
    """
    octaves = math.log(HIGH * sample_rate / 2 / LOW_HZ)
    efold = max(1, round(LOW_HZ * seconds / octaves)) / LOW_HZ
    time = np.arange(int(efold * octaves * sample_rate)) / sample_rate
    sine = np.sin(2 * np.pi * LOW_HZ * efold * np.expm1(time / efold))
    fade_in = _ramp(time / 0.1)
    fade_out = _ramp(time[::-1] / 0.001)
    padding = (round(lead_seconds * sample_rate), round(TAIL_SECONDS * sample_rate))
    return Sweep(np.pad(10 ** (level_dbfs / 20) * fade_in * fade_out * sine, padding), sample_rate, efold)


@dataclass(frozen=True)
class SweepReading:
    """What :func:`read_sweep` reads in one channel; NaN where noise hides the response or there is none.

    Attributes:
        delay_samples: position of the impulse response's greatest sample; NaN if noise comes within 20 dB of it.
        polarity: 1 or −1, its sign; NaN where the delay is.
        impulse_response: from 50 ms before to 100 ms after it, (time,).
        magnitude_db: at :func:`response_frequencies`, (points,).
        smoothed_db: the same as mean power over a sixth of an octave.
        group_delay_samples: mean over a sixth of an octave, weighted by power, (points,).
        harmonics_db: 2nd to 5th harmonic against the fundamental, at the fundamental's frequency, (4, points).
    """

    delay_samples: float
    polarity: float
    impulse_response: Array
    magnitude_db: Array
    smoothed_db: Array
    group_delay_samples: Array
    harmonics_db: Array


def fft_size(sample_rate: int) -> int:
    """Bins of about 1.3 Hz: a power of two that holds the windowed impulse response."""
    return 1 << math.ceil(math.log2((BEFORE + AFTER) * sample_rate + 1))


def response_frequencies(sample_rate: int) -> Array:
    """Where responses are reported: the FFT's bins next to 48 points per octave, 20 Hz to 20 kHz or 0.92 Nyquist."""
    width = sample_rate / fft_size(sample_rate)
    top = min(BAND_HZ[1], TOP * sample_rate / 2)
    points = BAND_HZ[0] * 2 ** (np.arange(1 + POINTS_PER_OCTAVE * math.log2(top / BAND_HZ[0])) / POINTS_PER_OCTAVE)
    bins = np.unique(np.round(points / width))
    return bins[(bins * width >= BAND_HZ[0]) & (bins * width <= top)] * width


def deconvolve(answer: Array, sweep: Sweep) -> tuple[Array, int]:
    """Divides the sweep out of ``answer``, (time,).

    Above 0.92 Nyquist the response is faded to nothing. Below 15 Hz it is continued to DC by its value from there to
    20 Hz: cut off, it would leave a slow pedestal under the impulse.

    Returns:
        The impulse response, (time,), with its greatest sample at index 0 and what is earlier at negative ones; and
        that sample's delay.
    """
    length, nyquist = len(sweep.signal), sweep.sample_rate / 2
    bins = np.fft.rfftfreq(length, 1 / sweep.sample_rate)
    rise = _ramp((bins - LOW_HZ) / (2 * LOW_HZ))
    fall = _ramp((HIGH * nyquist - bins) / ((HIGH - TOP) * nyquist))
    inside = (bins > LOW_HZ) & (bins < HIGH * nyquist)
    response = fall * np.fft.rfft(answer) / np.where(inside, np.fft.rfft(sweep.signal), np.inf)

    impulse = np.fft.irfft(response * rise, length)
    near = np.arange(-round(BEFORE * sweep.sample_rate), round(AFTER * sweep.sample_rate))
    delay = int(near[np.argmax(np.abs(impulse[near]))])

    aligned = response * np.exp(2j * np.pi * bins * delay / sweep.sample_rate)
    low = aligned[(bins >= 3 * LOW_HZ) & (bins <= BAND_HZ[0])].real.mean()
    return np.fft.irfft(aligned * rise + low * (1 - rise), length), delay


def _ramp(position: Array) -> Array:
    """0 up to 0, 1 from 1 on, half a cosine between."""
    return np.sin(np.pi / 2 * np.clip(position, 0, 1)) ** 2


def read_sweep(answer: Array, sweep: Sweep) -> SweepReading:
    """Reads one channel, (time,), of a device's answer to ``sweep``.

    The group delay is Re(F{t·h} / F{h}) of the windowed impulse response h: the derivative of its phase, unwrapped by
    construction. Noise is what lies later than the impulse response, where nothing but noise can be.
    """
    rate = sweep.sample_rate
    frequencies = response_frequencies(rate)
    none = np.full(len(frequencies), math.nan)
    kept = np.arange(round(KEPT[0] * rate), round(KEPT[1] * rate) + 1)
    if not measurable(answer):
        harmonics = np.tile(none, (len(HARMONICS), 1))
        return SweepReading(math.nan, math.nan, np.full(len(kept), math.nan), none, none, none, harmonics)

    impulse, peak_delay = deconvolve(answer, sweep)
    window, offsets = _flat_top(BEFORE, AFTER, EDGE, rate)
    size, width = fft_size(rate), rate / fft_size(rate)
    times = offsets.astype(np.float64)
    windowed = impulse[offsets] * window
    shift = np.exp(-2j * np.pi * np.fft.rfftfreq(size, 1.0) * offsets[0])  # the first sample lies before the peak
    spectrum = np.fft.rfft(windowed, size) * shift
    slope = np.fft.rfft(windowed * times, size) * shift
    power = np.abs(spectrum) ** 2
    smoothed = smooth(power, width, frequencies)
    noise = smooth(_noise_power(impulse, window, size, rate), width, frequencies)
    heard = smoothed > GATE * noise
    with np.errstate(divide="ignore", invalid="ignore"):
        delay = peak_delay + smooth((slope * spectrum.conj()).real, width, frequencies) / smoothed
    clear = impulse[0] ** 2 > CLEAR * np.mean(_late(impulse, rate) ** 2)
    raw = power[np.round(frequencies / width).astype(int)]
    return SweepReading(
        delay_samples=float(peak_delay) if clear else math.nan,
        polarity=float(np.sign(impulse[0])) if clear else math.nan,
        impulse_response=impulse[kept],
        magnitude_db=np.where(heard, decibels(raw), math.nan),
        smoothed_db=np.where(heard, decibels(smoothed), math.nan),
        group_delay_samples=np.where(heard, delay, math.nan),
        harmonics_db=_harmonics(impulse, sweep, np.where(heard, smoothed, math.nan)),
    )


def smooth(values: Array, width: float, frequencies: Array) -> Array:
    """Mean over a sixth of an octave around each frequency, but not beyond 0.92 Nyquist; the nearest bin if narrower.

    Args:
        values: one per bin of an FFT, (bins,).
        width: of a bin, in Hz.
        frequencies: in Hz, at most 0.92 Nyquist.
    """
    half = 2 ** (0.5 / SMOOTHING)
    first = np.ceil(frequencies / half / width).astype(np.intp)
    last = np.floor(np.minimum(frequencies * half / width, TOP * (len(values) - 1))).astype(np.intp)
    nearest = np.round(frequencies / width).astype(np.intp)
    first, last = np.minimum(first, nearest), np.maximum(last, nearest)
    sums = np.add.reduceat(values, np.stack((first, last + 1), axis=1).ravel())[::2]
    return sums / (last + 1 - first)


def _flat_top(before: float, after: float, edge: float, sample_rate: int) -> tuple[Array, NDArray[np.intp]]:
    """A window that is 1 but for its edges of ``edge`` seconds, and its offsets in samples."""
    offsets = np.arange(-round(before * sample_rate), round(after * sample_rate))
    distance = np.minimum(offsets - offsets[0] + 0.5, offsets[-1] - offsets + 0.5) / (edge * sample_rate)
    return _ramp(distance), offsets


def _late(impulse: Array, sample_rate: int) -> Array:
    """What lies between the end of the impulse response and half way round, where earlier harmonics begin: noise."""
    return impulse[round(2 * AFTER * sample_rate) : len(impulse) // 2]


def _noise_power(impulse: Array, window: Array, size: int, sample_rate: int) -> Array:
    """Mean power per bin, (size // 2 + 1,), of windowed stretches of noise."""
    late = _late(impulse, sample_rate)
    stretches = late[: len(late) // len(window) * len(window)].reshape(-1, len(window))
    return (np.abs(np.fft.rfft(stretches * window, size)) ** 2).mean(0)


def _harmonics(impulse: Array, sweep: Sweep, fundamental: Array) -> Array:
    """Harmonics against the fundamental's power (points,) in dB, (orders, points); NaN above the band or in noise."""
    rate = sweep.sample_rate
    size, frequencies = fft_size(rate), response_frequencies(rate)
    window, offsets = _flat_top(HARMONIC_HALF, HARMONIC_HALF, HARMONIC_HALF / 2, rate)
    width = rate / size
    noise = _noise_power(impulse, window, size, rate)
    found = np.full((len(HARMONICS), len(frequencies)), math.nan)
    for row, order in zip(found, HARMONICS, strict=True):
        centre = -round(sweep.efold * math.log(order) * rate)
        power = np.square(np.abs(np.fft.rfft(impulse[centre + offsets] * window, size)))
        inside = order * frequencies <= min(BAND_HZ[1], TOP * rate / 2)
        at = float(order) * frequencies[inside]
        level = smooth(power, width, at)
        heard = level > GATE * smooth(noise, width, at)
        row[inside] = np.where(heard, decibels(level / fundamental[inside]), math.nan)
    return found
