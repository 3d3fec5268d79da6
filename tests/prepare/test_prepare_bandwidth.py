"""The highest frequency with content tells up-sampled and lossy sources from full-band ones."""

import io
import math

import numpy as np
import pytest
import soundfile
import soxr
import torch
from prepare_test_signals import noise, sine, stereo
from scipy.signal import fftconvolve, firwin

from ear_sat.data.synth import synthesise_track
from ear_sat.prepare.bandwidth import BandwidthMeter

RATE = 44100


def bandwidth(signal: np.ndarray, rate: int = RATE, block: int = 65536) -> float:
    """Of (frames, channels), fed in blocks."""
    meter = BandwidthMeter(rate, signal.shape[1])
    for first in range(0, len(signal), block):
        meter.feed(torch.from_numpy(np.ascontiguousarray(signal[first : first + block].T, np.float32)))
    return meter.bandwidth_hz


def low_passed(signal: np.ndarray, cutoff: float, rate: int = RATE) -> np.ndarray:
    """−6 dB at ``cutoff``, −120 dB from 170 Hz above on."""
    taps = firwin(1023, cutoff, fs=rate, window=("kaiser", 12.0))
    return np.stack([fftconvolve(channel, taps, "same") for channel in signal.T], axis=1)


def music_like(seconds: float = 6.0) -> np.ndarray:
    """Noise that falls by 6 dB per octave from 50 Hz on: 50 dB less at 16 kHz, as in music."""
    spectrum = np.fft.rfft(noise(seconds, RATE), axis=0)
    signal = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum))[:, None], 50 * seconds), axis=0)
    return 0.9 * signal / np.abs(signal).max()


def sixteen_bit(signal: np.ndarray) -> np.ndarray:
    """With triangular dither, the noisiest way."""
    rng = np.random.default_rng(9)
    return np.round(signal * 32768 + rng.random(signal.shape) - rng.random(signal.shape)) / 32768


def lossy(signal: np.ndarray, level: float) -> tuple[np.ndarray, int]:
    """(decoded mp3, its bit rate in kbit/s)."""
    file = io.BytesIO()
    soundfile.write(file, signal, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    kilobits = round(len(file.getvalue()) * 8 / 1000 / (len(signal) / RATE))
    file.seek(0)
    return soundfile.read(file)[0], kilobits


@pytest.mark.parametrize("cutoff", [4000, 11025, 16000, 19000, 20000, 21000])
@pytest.mark.parametrize("source", [noise(6.0, RATE), music_like()], ids=["white", "music-like"])
def test_cutoff_of_filtered_noise(cutoff, source):
    assert bandwidth(low_passed(source, cutoff)) == pytest.approx(cutoff, abs=200)
    assert bandwidth(sixteen_bit(low_passed(source, cutoff))) == pytest.approx(cutoff, abs=200)


def test_it_does_not_depend_on_the_level():
    """30 dB less than full scale, in 16 bits: the noise of the samples is no content."""
    quiet = low_passed(0.03 * music_like(), 16000)
    assert bandwidth(sixteen_bit(quiet)) == pytest.approx(16000, abs=300)
    assert bandwidth(quiet) == pytest.approx(bandwidth(low_passed(music_like(), 16000)), abs=50)


@pytest.mark.parametrize("rate", [22050, 32000, 44100, 48000, 96000])
def test_full_band(rate):
    assert bandwidth(noise(2.0, rate), rate) == rate / 2


@pytest.mark.parametrize("native", [16000, 22050, 32000])
def test_up_sampled_sources(native):
    source = soxr.resample(music_like(), RATE, native)
    raised = soxr.resample(source, native, RATE)
    assert 0.9 * native / 2 < bandwidth(sixteen_bit(raised)) < 1.01 * native / 2


def test_lossy_sources():
    music = synthesise_track(0, 6.0, RATE, seed=0).T
    assert bandwidth(music) > 21500
    found = {}
    for level in (0.0, 0.667, 0.9):
        decoded, kilobits = lossy(music, level)
        found[kilobits] = bandwidth(decoded)
        assert bandwidth(sixteen_bit(decoded)) == pytest.approx(found[kilobits], abs=300)
    low, middle, high = (found[kilobits] for kilobits in sorted(found))
    assert low < 12000 < 15500 < middle < 17500 < 19500 < high, found


def test_clicks_and_gaps_are_no_content():
    """One of either in half a minute, although each of them has all frequencies."""
    signal = low_passed(music_like(30.0), 11025)
    signal[100_000] = 0.9
    signal[150_000:150_500] = 0
    assert bandwidth(signal) == pytest.approx(11025, abs=200)


@pytest.mark.parametrize("frequency", [100, 1000, 5000, 15000])
def test_a_tone_reaches_as_far_as_the_window_leaks(frequency):
    assert frequency <= bandwidth(stereo(sine(-3, 2, RATE, frequency))) < frequency + 200


@pytest.mark.parametrize("frames", [1000, 4095, 4096, 4097, 70000])
def test_any_length(frames):
    assert bandwidth(noise(2.0, RATE)[:frames]) > 20000


def test_blocks_do_not_matter():
    signal = music_like(2.0)
    assert bandwidth(signal, block=1000) == bandwidth(signal, block=10**6)


def test_silence_has_none():
    assert math.isnan(bandwidth(np.zeros((44100, 2)))) and math.isnan(BandwidthMeter(RATE, 2).bandwidth_hz)
