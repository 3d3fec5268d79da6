"""Errors of the stereo image: known level differences, correlations, widths and rotations."""

import math

import pytest
import torch
from torch import Tensor

from ear_sat.metrics import ccpc, evaluate_pair, icc_error, icld_error_db, panning_error_deg, stereo_width_error_db

IMAGE = ("icld_error_db", "icc_error", "stereo_width_error_db", "panning_error_deg")
FLIP_RIGHT = torch.tensor([[1.0], [-1.0]])


def noise(channels: int = 2, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(channels, 44100, generator=torch.Generator().manual_seed(seed))


def rotated(stereo: Tensor, degrees: float) -> Tensor:
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ stereo


def panned(degrees: float) -> Tensor:
    """Mono noise at an angle: 0 left, 45 centre, 90 right."""
    return rotated(torch.cat((noise(1), torch.zeros(1, 44100))), degrees)


@pytest.mark.parametrize("gain_db", [0.5, 3, -6, 20])
def test_gain_on_one_channel_is_the_level_difference(gain_db: float) -> None:
    target = noise()
    for gains in ([[1.0], [10 ** (gain_db / 20)]], [[10 ** (gain_db / 20)], [1.0]]):
        assert icld_error_db(target * torch.tensor(gains), target) == pytest.approx(abs(gain_db), abs=1e-4)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.7), (0.9, 0.3), (1.0, -1.0), (0.5, 0.5)])
def test_known_correlations(before: float, after: float) -> None:
    time = 2 * torch.pi * 440 * torch.arange(44100) / 44100
    first, second = torch.sin(time), torch.cos(time)  # orthogonal

    def mix(correlation: float) -> Tensor:
        return torch.stack((first, correlation * first + math.sqrt(1 - correlation**2) * second))

    assert icc_error(mix(after), mix(before)) == pytest.approx(abs(after - before), abs=1e-4)


@pytest.mark.parametrize("gain_db", [-12, -1, 6])
def test_gain_on_the_side_is_the_width_error(gain_db: float) -> None:
    mid, side = noise()
    wider = 10 ** (gain_db / 20) * side
    preds, target = torch.stack((mid + wider, mid - wider)), torch.stack((mid + side, mid - side))
    assert stereo_width_error_db(preds, target) == pytest.approx(abs(gain_db), abs=1e-4)


def test_width_is_limited() -> None:
    mid, side = noise()
    mono, stereo = torch.stack((mid, mid)), torch.stack((mid + side, mid - side))
    width = 10 * math.log10(side.square().sum() / mid.square().sum())
    assert stereo_width_error_db(mono, stereo) == pytest.approx(60 + width, abs=1e-4)
    assert stereo_width_error_db(mono + 1e-5 * stereo, mono) == 0  # −100 dB of side is mono
    assert stereo_width_error_db(mono * FLIP_RIGHT, mono) == pytest.approx(120)


@pytest.mark.parametrize("degrees", [10, -25, 60, 90, 100, 170])
def test_rotation_is_the_panning_error(degrees: float) -> None:
    """Of panned mono and of any stereo image alike; a half turn is the same axis again."""
    expected = min(abs(degrees), 180 - abs(degrees))
    left, right = noise()
    for target in (panned(30), panned(0), torch.stack((left, 0.6 * left + 0.4 * right)), noise()):
        assert panning_error_deg(rotated(target, degrees), target) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("degrees", [0, 20, 30, 44])
def test_swapped_panned_mono_is_caught(degrees: float) -> None:
    """CCPC sees nothing: the phase difference is 0 either way."""
    target = panned(degrees)
    swapped = target.flip(0)
    assert panning_error_deg(swapped, target) == pytest.approx(90 - 2 * degrees, abs=0.02)
    if degrees:
        assert ccpc(swapped, target) == pytest.approx(1, abs=1e-4)
        level = 20 * math.log10(math.tan(math.radians(degrees)))
        assert icld_error_db(swapped, target) == pytest.approx(2 * abs(level), abs=1e-3)
    assert stereo_width_error_db(swapped, target) == pytest.approx(0, abs=1e-3)


def test_swapped_independent_noise_is_caught() -> None:
    target = noise()
    assert ccpc(target.flip(0), target) < 0.2
    assert panning_error_deg(target.flip(0), target) > 30


def test_flip_of_one_channel() -> None:
    """Centre to antiphase: what CCPC calls coherent."""
    target = panned(45)
    flipped = target * FLIP_RIGHT
    assert ccpc(flipped, target) == pytest.approx(1, abs=1e-4)
    assert panning_error_deg(flipped, target) == pytest.approx(90, abs=0.02)
    assert icc_error(flipped, target) == pytest.approx(2)
    assert icld_error_db(flipped, target) == 0


def test_panning_error_is_weighted_by_level() -> None:
    """Half the time 20 dB softer and rotated by 40 degrees: a tenth of the weight."""
    loud, soft = panned(30)[:, :22050], 0.1 * panned(30)[:, 22050:]
    preds, target = torch.cat((loud, rotated(soft, 40)), 1), torch.cat((loud, soft), 1)
    assert panning_error_deg(preds, target) == pytest.approx(40 / 11, rel=0.05)
    quiet_end = torch.cat((loud, rotated(soft * 1e-3, 40)), 1)
    assert panning_error_deg(quiet_end, torch.cat((loud, soft * 1e-3), 1)) < 0.05


def test_hard_panned_target_has_an_angle_and_a_width_only() -> None:
    target = panned(0)
    values = evaluate_pair(rotated(target, 20), target, 44100, IMAGE)
    assert math.isnan(values["icld_error_db"])
    assert math.isnan(values["icc_error"])
    assert values["panning_error_deg"] == pytest.approx(20, abs=0.02)
    assert values["stereo_width_error_db"] > 0


def test_channel_that_falls_silent_is_an_error() -> None:
    target = noise()
    preds = target * torch.tensor([[1.0], [0.0]])
    values = evaluate_pair(preds, target, 44100, IMAGE)
    assert values["icld_error_db"] == pytest.approx(100, abs=0.5)  # −20 dBFS against the least of −120
    assert values["icc_error"] == pytest.approx(abs(torch.corrcoef(target)[0, 1].item()), abs=1e-3)
    assert values["panning_error_deg"] > 30


@pytest.mark.parametrize("name", IMAGE)
def test_silent_estimate_has_no_image(name: str) -> None:
    target = noise()
    assert math.isnan(evaluate_pair(0 * target, target, 44100, [name])[name])
