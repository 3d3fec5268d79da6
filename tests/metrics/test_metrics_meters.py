"""Meters that are fed in blocks, against the libraries that measure whole signals."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly
from torch import Tensor

from ear_sat.metrics import LoudnessMeter, TruePeakMeter

RATES = [22050, 44100, 48000, 96000]


def music(seconds: float, rate: int, channels: int = 2) -> Tensor:
    """Noise in sections of many levels, (channels, time)."""
    rng = torch.Generator().manual_seed(rate)
    levels = 10 ** -torch.rand(math.ceil(seconds), generator=rng).repeat_interleave(rate)[: round(seconds * rate)]
    return 0.1 * torch.randn(channels, len(levels), generator=rng) * levels


def loudness(signal: Tensor, rate: int, block: int) -> LoudnessMeter:
    meter = LoudnessMeter(rate, len(signal))
    for part in signal.split(block, dim=-1):
        meter.feed(part)
    return meter


def true_peak(signal: Tensor, rate: int, block: int) -> float:
    meter = TruePeakMeter(rate)
    for part in signal.split(block, dim=-1):
        meter.feed(part)
    return meter.dbtp


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_loudness_is_that_of_pyloudnorm(rate: int, channels: int) -> None:
    """Its filters named DeMan are the standard's."""
    pyloudnorm = pytest.importorskip("pyloudnorm")
    signal = music(7.23, rate, channels)
    expected = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(signal.double().numpy().T)
    assert loudness(signal, rate, 65536).integrated_lufs == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("rate", [11025, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.4, 0.4321, 0.46, 0.4999, 0.5, 0.56, 1.05])
def test_a_steady_tone_reads_its_level_at_any_length(rate: int, seconds: float) -> None:
    """BS.1770-4 leaves an incomplete last block out. Pyloudnorm counts it from its half on, as if it were whole."""
    samples = round(seconds * rate)
    signal = torch.sin(2 * torch.pi * 997 / rate * torch.arange(samples, dtype=torch.float64)).expand(2, -1)
    assert loudness(signal, rate, 1000).integrated_lufs == pytest.approx(0, abs=0.05)
    assert math.isnan(loudness(signal[:, : rate * 4 // 10 - 1], rate, 1000).integrated_lufs)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("length", [16, 21, 50, 0.5])
def test_true_peak_is_that_of_resample_poly(length: float, rate: int) -> None:
    """Mirrored at the beginning, without what the last 15 samples and anything after them would decide."""
    signal = music(0.5, rate)[:, : round(length if length >= 1 else length * rate)]
    factor = math.ceil(176400 / rate)
    between = resample_poly(np.pad(signal.double().numpy(), ((0, 0), (15, 0)), "reflect"), factor, 1, axis=-1)
    expected = 20 * math.log10(np.abs(between[:, 15 * factor : -15 * factor]).max())
    assert true_peak(signal, rate, 65536) == pytest.approx(expected, abs=1e-4)
    assert math.isnan(true_peak(signal[:, :15], rate, 4))


@pytest.mark.parametrize("block", [1, 997, 44100])
def test_blocks_do_not_matter(block: int) -> None:
    signal = music(0.2 if block == 1 else 5.0, 11025)  # a rate whose tenths of a second are not whole samples
    whole, parts = loudness(signal, 11025, 10**6), loudness(signal, 11025, block)
    assert parts.integrated_lufs == pytest.approx(whole.integrated_lufs, abs=1e-9, nan_ok=True)
    assert parts.range_lu == pytest.approx(whole.range_lu, abs=1e-9, nan_ok=True)
    assert true_peak(signal, 11025, block) == pytest.approx(true_peak(signal, 11025, 10**6), abs=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_undefined(value: float) -> None:
    signal = music(5, 8000)
    signal[1, 100] = value
    meter = loudness(signal, 8000, 4000)
    assert math.isnan(meter.integrated_lufs) and math.isnan(meter.range_lu)
    assert math.isnan(true_peak(signal, 8000, 4000))
    for place in (0, -1):  # also where nothing is measured
        signal = music(1, 8000)
        signal[0, place] = value
        assert math.isnan(true_peak(signal, 8000, 4000))


@pytest.mark.parametrize("channels", [0, 6])
def test_channels_without_a_weight(channels: int) -> None:
    with pytest.raises(ValueError, match="channels must be 1 to 5"):
        LoudnessMeter(44100, channels)


@pytest.mark.parametrize("rate", [1, 8, 100, 1000, 4000])
def test_rates_of_mislabelled_files(rate: int) -> None:
    """They need not mean anything, but they are no crash, and take no hours."""
    signal = music(5, 8000)[:, : 5 * max(rate, 100)]
    assert not math.isinf(loudness(signal, rate, 333).integrated_lufs)
    assert math.isfinite(true_peak(signal, rate, 333))
