"""Steady tones and silence: the signals, and what an audio analyser reads from a device's answer to them.

Levels are in dBFS as in AES17: a full-scale sine reads 0 dBFS RMS, so a mean square m reads 10 lg(2m). Every tone is
measured over a whole number of its periods: its spectrum is one bin, and filters are exact gains on bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.clips import SILENCE_PEAK
from ..weighting import a_gain

Array = NDArray[np.float64]

FLOOR_DB = -300.0  # what is exactly 0 reads this; float32 audio itself ends near −150 dB
BAND_HZ = (20.0, 20000.0)  # AES17: the band of every RMS reading
NOTCH_Q = 2.0  # AES17-2015: the standard notch has a Q from 1.2 to 3; this is about the middle of the two ratios
FADE_SECONDS = 0.02
SPECTRUM_SECONDS = 0.4  # at most; 997 Hz is read for 1 s
CELLS_PER_OCTAVE = 48


def decibels(power: Array | float) -> Array:
    """10 lg(power), at least :data:`FLOOR_DB`; NaN stays NaN.

    >>> decibels(np.array([1.0, 0.1, 0.0])).tolist()
    [0.0, -10.0, -300.0]
    """
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def dbfs(mean_square: Array | float) -> Array:
    """Level of a signal of this mean square: 0 dBFS for a full-scale sine (AES17).

    >>> float(dbfs(0.5))
    0.0
    """
    return decibels(2.0 * np.asarray(mean_square, dtype=np.float64))


def measurable(signal: Array) -> bool:
    """Whether a device's answer can be read at all: it is finite and exceeds −120 dBFS somewhere."""
    return bool(np.isfinite(signal).all()) and signal.size > 0 and float(np.abs(signal).max()) > SILENCE_PEAK


def coherent_length(frequency: int, sample_rate: int, seconds: float) -> int:
    """The least number of samples that lasts ``seconds`` and holds a whole number of periods.

    >>> coherent_length(20, 44100, 0.5), coherent_length(997, 44100, 0.5)  # 997 Hz: no sample is like another for 1 s
    (22050, 44100)
    """
    unit = sample_rate // math.gcd(frequency, sample_rate)
    return unit * math.ceil(seconds * sample_rate / unit)


def tone(frequency: float, level_dbfs: float, sample_rate: int, length: int) -> Array:
    """A sine of ``length`` samples, faded in and out over 20 ms so that the device sees no click."""
    time = np.arange(length) / sample_rate
    edge = np.minimum(time, time[::-1]) / FADE_SECONDS
    fade = np.sin(np.pi / 2 * np.minimum(edge, 1)) ** 2
    return 10 ** (level_dbfs / 20) * fade * np.sin(2 * np.pi * frequency * time)


def power_spectrum(signal: Array) -> Array:
    """Power per bin of (..., time), (..., time // 2 + 1): its sum is the mean square.

    >>> power_spectrum(np.array([1.0, 0.0, -1.0, 0.0])).tolist()
    [0.0, 0.5, 0.0]
    """
    length = signal.shape[-1]
    power = np.abs(np.fft.rfft(signal)) ** 2 / length**2
    power[..., 1 : (length + 1) // 2] *= 2  # the bins that stand for a negative frequency as well
    return power


def in_band(frequency: Array) -> NDArray[np.bool_]:
    """Which bins the measuring band of AES17 holds, 20 Hz and 20 kHz included."""
    return (frequency >= BAND_HZ[0]) & (frequency <= BAND_HZ[1])


def notch_gain(frequency: Array, centre: float, q: float = NOTCH_Q) -> Array:
    """Magnitude of the second-order notch that takes the fundamental out; 1/√2 at the two edges of centre/q.

    >>> notch_gain(np.array([0.0, 1000.0, 2000.0]), 1000.0, q=3.0).round(3).tolist()
    [1.0, 0.0, 0.976]
    """
    f2 = np.asarray(frequency) ** 2
    offset = np.abs(f2 - centre**2)
    return offset / np.hypot(offset, frequency * (centre / q))


def ccir_gain(frequency: Array) -> Array:
    """CCIR-RMS weighting: the curve of ITU-R BS.468-4 with gain 1 at 2 kHz, as AES17 weights noise.

    The polynomials are the response of the standard's passive network; the standard allows ±0.2 dB at 6.3 kHz.

    >>> (20 * np.log10(ccir_gain(np.array([100.0, 2000.0, 6300.0, 20000.0])))).round(1).tolist()
    [-25.5, 0.0, 6.6, -27.8]
    """

    def response(f: Array) -> Array:
        real = -4.737338981378384e-24 * f**6 + 2.043828333606125e-15 * f**4 - 1.363894795463638e-7 * f**2 + 1
        imaginary = 1.306612257412824e-19 * f**5 - 2.118150887518656e-11 * f**3 + 5.559488023498642e-4 * f
        return f / np.hypot(real, imaginary)

    return response(np.asarray(frequency, dtype=np.float64)) / response(np.array(2000.0))


@dataclass(frozen=True)
class ToneReading:
    """What :func:`read_tone` reads in one channel; NaN where the device gave nothing to read.

    Attributes:
        level_dbfs: level of the fundamental.
        thd_db: harmonics in band against the fundamental; NaN where none is in band.
        thd_n_db: what the notch leaves against all there is, both in band.
        residual_dbfs: level of what the notch leaves, unweighted, A-weighted and CCIR-RMS-weighted.
    """

    level_dbfs: float
    thd_db: float
    thd_n_db: float
    residual_dbfs: tuple[float, float, float]


def read_tone(signal: Array, frequency: int, sample_rate: int) -> ToneReading:
    """Reads one channel, (time,), that holds a whole number of periods of ``frequency``: see :func:`coherent_length`.

    Raises:
        ValueError: the length holds no whole number of periods.

    >>> time = np.arange(48000) / 48000
    >>> signal = np.sin(2 * np.pi * 1000 * time) + 0.01 * np.sin(2 * np.pi * 3000 * time)
    >>> reading = read_tone(signal, 1000, 48000)
    >>> round(reading.level_dbfs, 2), round(reading.thd_db, 2), round(reading.thd_n_db, 1)
    (0.0, -40.0, -40.2)
    """
    periods, rest = divmod(frequency * signal.shape[-1], sample_rate)
    if rest:
        raise ValueError(
            f"{signal.shape[-1]} samples at {sample_rate} Hz hold no whole number of periods of {frequency} Hz"
        )
    if not measurable(signal):
        return ToneReading(math.nan, math.nan, math.nan, (math.nan,) * 3)
    power = power_spectrum(signal)
    bins = np.fft.rfftfreq(signal.shape[-1], 1 / sample_rate)
    total = np.where(in_band(bins), power, 0)
    residual = total * notch_gain(bins, frequency) ** 2
    has_harmonics = 2 * frequency <= min(BAND_HZ[1], sample_rate / 2)
    with np.errstate(divide="ignore", invalid="ignore"):  # no fundamental, or nothing in band
        thd = decibels(total[2 * periods :: periods].sum() / power[periods]) if has_harmonics else math.nan
        thd_n = decibels(residual.sum() / total.sum())
    return ToneReading(
        level_dbfs=float(dbfs(power[periods])),
        thd_db=float(thd),
        thd_n_db=float(thd_n),
        residual_dbfs=_weighted_dbfs(residual, bins),
    )


def _weighted_dbfs(power: Array, bins: Array) -> tuple[float, float, float]:
    """Level of a band-limited spectrum: unweighted, A-weighted, CCIR-RMS-weighted."""
    gains = (np.ones_like(bins), a_gain(bins), ccir_gain(bins))
    unweighted, a_weighted, ccir = (float(dbfs((power * gain**2).sum())) for gain in gains)
    return unweighted, a_weighted, ccir


@dataclass(frozen=True)
class NoiseReading:
    """What :func:`read_noise` reads in one channel; NaN where it is not finite.

    Attributes:
        level_dbfs: RMS in band, unweighted, A-weighted and CCIR-RMS-weighted.
        peak_db: the greatest sample, dB of full scale (without band limit).
        dc_db: magnitude of the mean, dB of full scale.
    """

    level_dbfs: tuple[float, float, float]
    peak_db: float
    dc_db: float


def read_noise(signal: Array, sample_rate: int) -> NoiseReading:
    """Reads one channel, (time,), of a device's answer to silence.

    >>> reading = read_noise(np.full(48000, -0.001), 48000)
    >>> reading.level_dbfs[0], round(reading.peak_db), round(reading.dc_db)
    (-300.0, -60, -60)
    """
    if not np.isfinite(signal).all():
        return NoiseReading((math.nan,) * 3, math.nan, math.nan)
    mean = float(signal.mean())
    bins = np.fft.rfftfreq(signal.shape[-1], 1 / sample_rate)
    power = np.where(in_band(bins), power_spectrum(signal - mean), 0)
    return NoiseReading(
        level_dbfs=_weighted_dbfs(power, bins),
        peak_db=float(decibels(np.abs(signal).max() ** 2)),
        dc_db=float(decibels(mean**2)),
    )


def spectrum_size(sample_rate: int) -> int:
    """Samples of a window of :func:`log_spectrum`: the greatest power of two that lasts no more than 0.4 s.

    >>> spectrum_size(44100)  # 2.7 Hz per bin
    16384
    """
    return 1 << int(math.log2(SPECTRUM_SECONDS * sample_rate))


def log_cells(sample_rate: int) -> tuple[Array, NDArray[np.intp]]:
    """Cells of 1/48 octave from 20 Hz to 20 kHz or Nyquist: their frequencies and first bins of the spectrum.

    Cells narrower than a bin are left out.
    """
    top = min(BAND_HZ[1], sample_rate / 2)
    count = int(CELLS_PER_OCTAVE * math.log2(top / BAND_HZ[0]))
    width = sample_rate / spectrum_size(sample_rate)
    edges = np.unique(np.ceil(BAND_HZ[0] * 2 ** (np.arange(count + 1) / CELLS_PER_OCTAVE) / width).astype(np.intp))
    return np.sqrt(edges[:-1] * (edges[1:] - 1.0)) * width, edges


def log_spectrum(signal: Array, sample_rate: int) -> Array:
    """Spectrum of one channel, (time,), in dBFS: the greatest bin of each of :func:`log_cells`; a sine reads its level.

    Mean power of Hann windows that overlap by half; NaN where the signal is not finite.

    Args:
        signal: at least :func:`spectrum_size` samples.
        sample_rate: in Hz.
    """
    _, edges = log_cells(sample_rate)
    if not np.isfinite(signal).all():
        return np.full(len(edges) - 1, math.nan)
    size = spectrum_size(sample_rate)
    window = np.hanning(size + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[:: size // 2]
    power = (np.abs(np.fft.rfft(frames * window)) ** 2).mean(0) * (2 / window.sum() ** 2)
    return dbfs(np.maximum.reduceat(power, edges[:-1])[: len(edges) - 1])
