"""True peak, loudness and loudness range against the standards' own examples."""

import math

import pytest
import torch
from torch import Tensor

from ear_sat.metrics import (
    integrated_loudness_lufs,
    loudness_diff_lu,
    loudness_range_diff_lu,
    loudness_range_lu,
    true_peak_dbtp,
    true_peak_diff_db,
)

RATES = (32000, 44100, 48000, 96000)


def sine(frequency: float, seconds: float, rate: int, level_db: float = 0.0) -> Tensor:
    """(1, time), peak ``level_db`` dBFS; its phase in float64, which float32 would blur within a second."""
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return 10 ** (level_db / 20) * torch.sin(2 * torch.pi * frequency * time).float()[None]


@pytest.mark.parametrize("rate", RATES)
def test_full_scale_sine(rate: int) -> None:
    """BS.1770-4: a 0 dBFS 997 Hz sine in one channel reads −3.01 LKFS; two channels add 3.01."""
    mono = sine(997, 2, rate)
    assert integrated_loudness_lufs(mono, rate) == pytest.approx(-3.01, abs=0.1)
    assert integrated_loudness_lufs(mono.expand(2, -1), rate) == pytest.approx(0, abs=0.1)
    assert integrated_loudness_lufs(torch.cat((mono, 0 * mono)), rate) == pytest.approx(-3.01, abs=0.1)


def test_filters_are_the_standards_at_48k() -> None:
    assert integrated_loudness_lufs(sine(997, 2, 48000), 48000) == pytest.approx(-3.0103, abs=2e-3)


def test_gate() -> None:
    """EBU Tech 3341, case 3: 10 s at −36 dBFS, 60 s at −23, 10 s at −36 read −23.0 ± 0.1 LUFS."""
    rate = 48000
    parts = (sine(1000, 10, rate, -36), sine(1000, 60, rate, -23), sine(1000, 10, rate, -36))
    assert integrated_loudness_lufs(torch.cat(parts, -1).expand(2, -1), rate) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize(("levels", "spread"), [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20)])
def test_loudness_range(levels: tuple[float, ...], spread: float) -> None:
    """EBU Tech 3342, cases 1 to 3: two 1 kHz tones of 20 s read the difference of their levels ± 1 LU."""
    rate = 16000
    tone = torch.cat([sine(1000, 20, rate, level) for level in levels], -1).expand(2, -1)
    assert loudness_range_lu(tone, rate) == pytest.approx(spread, abs=1)


def test_loudness_range_appends_nothing() -> None:
    """A steady tone has no range however short the clip, and a range is the same before and after more of the same."""
    assert loudness_range_lu(sine(1000, 4, 44100, -20), 44100) == pytest.approx(0, abs=1e-3)
    steps = torch.cat([sine(1000, 6, 16000, level) for level in (-20, -26, -23)], -1)
    assert loudness_range_lu(steps, 16000) == pytest.approx(6, abs=0.1)
    assert loudness_range_lu(steps.repeat(1, 3), 16000) == pytest.approx(6, abs=0.1)


def test_differences_are_absolute() -> None:
    loud = sine(1000, 4, 44100, -20).expand(2, -1)
    for quiet in (10 ** (-6 / 20) * loud, 10 ** (6 / 20) * loud):
        assert loudness_diff_lu(quiet, loud, 44100) == pytest.approx(6, abs=1e-3)
        assert true_peak_diff_db(quiet, loud, 44100) == pytest.approx(6, abs=1e-3)
        assert loudness_range_diff_lu(quiet, loud, 44100) == pytest.approx(0, abs=1e-3)


def test_undefined_measurements_are_nan() -> None:
    tone = sine(1000, 4, 44100, -20)
    for measure in (integrated_loudness_lufs, loudness_range_lu, true_peak_dbtp):
        assert math.isnan(measure(torch.zeros(2, 4 * 44100), 44100))
        assert math.isnan(measure(torch.full((2, 4 * 44100), math.nan), 44100))
        assert math.isnan(measure(torch.zeros(2, 0), 44100))
        assert measure(torch.stack((tone, 0 * tone)), 44100) == measure(
            tone, 44100
        )  # a silent clip is left out of the mean
        with pytest.raises(ValueError, match=r"signal must have the shape"):
            measure(tone[0], 44100)
    assert math.isnan(integrated_loudness_lufs(tone[:, : 44100 * 4 // 10 - 1], 44100))
    assert math.isfinite(integrated_loudness_lufs(tone[:, : 44100 * 4 // 10], 44100))
    assert math.isnan(loudness_range_lu(tone[:, : 3 * 44100 - 1], 44100))
    assert math.isfinite(loudness_range_lu(tone[:, : 3 * 44100], 44100))
    assert math.isnan(integrated_loudness_lufs(tone * 1e-4, 44100))  # −100 dBFS: below the gate of −70 LUFS
    assert math.isnan(integrated_loudness_lufs(tone.expand(6, -1), 44100))


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_inter_sample_over(rate: int) -> None:
    """EBU Tech 3341, cases 15 to 18: a faded tone at fs/4 whose samples miss its peaks by 45 degrees, +0.2/−0.4 dB."""
    phase = torch.pi / 2 * torch.arange(rate, dtype=torch.float64) + torch.pi / 4
    between = (torch.sin(phase) * torch.hann_window(rate)).float()
    assert 20 * math.log10(between.abs().max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak_dbtp(between[None], rate) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("rate", [44100, 96000, 192000])
def test_true_peak_is_the_loudest_channels_and_never_below_the_samples(rate: int) -> None:
    noise = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.1], [0.2]])
    peak = true_peak_dbtp(noise, rate)
    assert peak == true_peak_dbtp(noise[1:], rate)
    sample_peak = 20 * math.log10(noise.abs().max())
    assert peak == pytest.approx(sample_peak) if rate == 192000 else peak >= sample_peak


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("degrees", [0, 45, 90, 200])
def test_a_cut_is_no_overshoot(degrees: int, rate: int) -> None:
    """A steady tone has one true peak wherever it is cut: silence around it would add up to 1.4 dB."""
    time = torch.arange(2 * rate + 1, dtype=torch.float64) / rate
    tone = torch.sin(2 * torch.pi * 997 * time + math.radians(degrees)).float()[None]
    for length in (rate // 10, rate // 3, 2 * rate):
        assert true_peak_dbtp(tone[:, :length], rate) == pytest.approx(0, abs=0.05)
    constant = torch.full((2, rate), 0.5)
    assert true_peak_dbtp(constant, rate) == pytest.approx(20 * math.log10(0.5), abs=0.01)


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_clicks_at_the_ends(rate: int) -> None:
    """The first sample counts; one of the last 15, which decoders and networks leave, does not."""
    tone = sine(997, 1, rate, -20)
    first, last = tone.clone(), tone.clone()
    first[:, 0], last[:, -3:] = 0.5, torch.tensor([-0.9, -0.8, 0.8])
    assert true_peak_dbtp(first, rate) == pytest.approx(20 * math.log10(0.5), abs=0.5)
    assert true_peak_dbtp(last, rate) == pytest.approx(-20, abs=0.5)
    assert true_peak_diff_db(last, tone, rate) == pytest.approx(0, abs=0.5)
    silent_before = torch.cat((torch.zeros(1, rate), torch.ones(1, 5)), dim=-1)
    assert math.isnan(true_peak_dbtp(silent_before, rate))
    assert math.isnan(true_peak_diff_db(silent_before, silent_before + 0.1, rate))
