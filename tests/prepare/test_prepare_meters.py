"""Levels and stereo in blocks of any length."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ear_sat.prepare.levels import LevelMeter
from ear_sat.prepare.stereo import StereoMeter

BLOCKS = [1, 2, 3, 7, 100, 10_000]


def measured(signal: Tensor, block: int, rate: int = 1000) -> LevelMeter:
    meter = LevelMeter(rate, len(signal))
    for part in signal.split(block, dim=1):
        meter.feed(part)
    return meter


@pytest.mark.parametrize("block", BLOCKS)
def test_clipped_runs_across_blocks(block):
    """Runs of 1 to 6 samples with gaps of one sample; those of 3 and more count, each once, in either polarity."""
    runs = [sample for length in range(1, 7) for sample in [1.0] * length + [0.5]]
    signal = torch.tensor([runs, [-value for value in runs], [0.99 * value for value in runs]])
    assert measured(signal, block).clipped_runs == 2 * 4


@pytest.mark.parametrize("block", BLOCKS)
def test_a_run_that_begins_or_ends_the_signal(block):
    assert measured(torch.ones(1, 50), block).clipped_runs == 1
    assert measured(torch.ones(1, 2), block).clipped_runs == 0


def test_full_scale_of_16_bits_and_beyond():
    assert measured(torch.full((1, 9), 32767 / 32768), 4).clipped_runs == 1
    assert measured(torch.full((1, 9), 32766 / 32768), 4).clipped_runs == 0
    assert measured(torch.full((1, 9), 1.3), 4).clipped_runs == 1


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("rate", [1000, 1003])
def test_levels_do_not_depend_on_blocks(block, rate):
    rng = torch.Generator().manual_seed(0)
    signal = 0.1 * torch.randn(2, 3210, generator=rng) * (torch.arange(3210) // 321 % 2)
    one, many = measured(signal, 10_000, rate), measured(signal, block, rate)
    assert many.sample_peak_dbfs == one.sample_peak_dbfs == pytest.approx(20 * math.log10(signal.abs().max()))
    assert many.silence_share == one.silence_share and 0.3 < one.silence_share < 0.5
    assert many.dc == pytest.approx(one.dc, abs=1e-12)
    assert one.dc == pytest.approx(max(signal.double().mean(dim=1).tolist(), key=abs))


def test_nothing_and_silence():
    assert math.isnan(LevelMeter(1000, 2).silence_share) and math.isnan(LevelMeter(1000, 2).dc)
    silent = measured(torch.zeros(2, 1000), 100)
    assert silent.sample_peak_dbfs == -math.inf and silent.silence_share == 1 and silent.finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 499, 999])
def test_not_finite(value, place):
    signal = torch.zeros(2, 1000)
    signal[1, place] = value
    assert not measured(signal, 100).finite


@pytest.mark.parametrize("ratio", [-30.0, 0.0, 12.0, 59.0])
def test_mid_side_ratio(ratio):
    rng = np.random.default_rng(0)
    mid, side = rng.standard_normal((2, 200_000)) * np.array([[1.0], [10 ** (-ratio / 20)]])
    meter = StereoMeter()
    for part in torch.from_numpy(np.stack((mid + side, mid - side))).split(777, dim=1):
        meter.feed(part)
    assert meter.mid_side_ratio_db == pytest.approx(ratio, abs=0.05) and meter.dual_mono is False


def test_silence_is_neither_stereo_nor_dual_mono():
    meter = StereoMeter()
    meter.feed(torch.zeros(2, 100))
    assert math.isnan(meter.mid_side_ratio_db) and meter.dual_mono is None
