"""The additional metrics of magnitude and polarity against plain computations of their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from ear_sat.metrics import (
    evaluate_pair,
    k_stft_distance_left,
    k_stft_distance_mid,
    k_stft_distance_right,
    k_stft_distance_side,
    log1p_distance,
    polarity_left,
    polarity_right,
    stft_distance,
)
from ear_sat.metrics.spectral import STFT_SIZES
from ear_sat.weighting import k_weighting_biquads

Pair = tuple[Tensor, Tensor]


def magnitude(signal: Tensor, size: int) -> Tensor:
    """By torch.stft in double precision, scaled so that a sine reads its amplitude: (channels, bins, frames)."""
    window = torch.hann_window(size, dtype=torch.float64)
    return torch.stft(signal.double(), size, size // 4, window=window, return_complex=True).abs() * 4 / size


def k_magnitude(signal: Tensor, size: int, rate: int) -> Tensor:
    """Weighted by the measured response of the two filters: the spectrum of their impulse responses."""
    impulse = np.zeros(1 << 17)
    impulse[0] = 1
    for section in k_weighting_biquads(rate):
        impulse = lfilter(section[:3], section[3:], impulse)
    gain = np.abs(np.fft.rfft(impulse))[:: (1 << 17) // size]
    return (magnitude(signal, size) * torch.from_numpy(gain)[:, None]).clamp_min(1e-5)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_k_stft_distance_is_its_definition(rate: int, golden_pair: Pair) -> None:
    def components(signal: Tensor) -> dict[str, Tensor]:
        left, right = signal[:1], signal[1:]
        return {"mid": (left + right) / 2, "side": (left - right) / 2, "left": left, "right": right}

    functions = (k_stft_distance_mid, k_stft_distance_side, k_stft_distance_left, k_stft_distance_right)
    preds, target = (components(signal) for signal in golden_pair)
    for function, name in zip(functions, preds, strict=True):
        expected = 0.0
        for size in STFT_SIZES:
            p, t = k_magnitude(preds[name], size, rate), k_magnitude(target[name], size, rate)
            expected += ((t - p).norm() / t.norm() + (p.log() - t.log()).abs().mean()).item() / len(STFT_SIZES)
        assert function(*golden_pair, rate) == pytest.approx(expected, rel=1e-4), name


def test_side_error_is_the_sides_alone(music_like: Pair) -> None:
    _, target = music_like
    noise = 0.01 * torch.randn(target.shape[1], generator=torch.Generator().manual_seed(3))
    preds = target + torch.stack((noise, -noise))
    values = evaluate_pair(preds, target, 44100, [f"k_stft_distance_{c}" for c in ("mid", "side", "left", "right")])
    mid, side, left, right = values.values()
    assert mid < 1e-3 < left < side
    assert right < side


@pytest.mark.parametrize(("level_db", "defined"), [(-math.inf, False), (-70, False), (-50, True), (0, True)])
def test_quiet_side_has_no_distance(level_db: float, defined: bool) -> None:
    """Rounding noise of a lossy dual mono file is no stereo image; its error must not explode."""
    noise = 0.1 * torch.randn(3, 44100, generator=torch.Generator().manual_seed(0))
    side = 10 ** (level_db / 20) * noise[1]
    target = torch.stack((noise[0] + side, noise[0] - side))
    preds = target + 1e-3 * noise[2] * torch.tensor([[1.0], [-1.0]])
    assert math.isfinite(k_stft_distance_side(preds, target, 44100)) == defined
    assert math.isfinite(k_stft_distance_mid(preds, target, 44100))


def test_mono_is_a_mid(music_like: Pair) -> None:
    preds, target = (signal[:1] for signal in music_like)
    stereo = (preds.expand(2, -1), target.expand(2, -1))
    assert (
        k_stft_distance_mid(preds, target, 44100)
        == k_stft_distance_mid(*stereo, 44100)
        == k_stft_distance_left(*stereo, 44100)
    )


def test_weighting_is_the_filters() -> None:
    """K-weighting lowers 30 Hz by 9 dB and raises 5 kHz by 4: the same error counts less and more."""
    rng = torch.Generator().manual_seed(0)
    time = torch.arange(44100) / 44100
    target = 0.1 * torch.randn(1, 44100, generator=rng)
    low, high = (k_stft_distance_mid(target + torch.sin(2 * torch.pi * f * time), target, 44100) for f in (30, 5000))
    assert low < 0.5 * high


def test_log1p_distance_is_its_definition(golden_pair: Pair) -> None:
    preds, target = golden_pair
    expected = 0.0
    for size in STFT_SIZES:
        p, t = (1e4 * magnitude(signal, size) for signal in (preds, target))
        expected += (p.log1p() - t.log1p()).abs().mean().item() / len(STFT_SIZES)
    assert log1p_distance(preds, target) == pytest.approx(expected, rel=1e-5)


def test_log1p_distance_lets_quiet_bins_go() -> None:
    """Noise at −80 dBFS RMS where nothing was: a logarithm pays for the depth of the hole, log1p for what fills it."""
    floor, loud = 0.1 * torch.randn(2, 2, 44100, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(loud)
    spectrum[:, spectrum.shape[1] // 2 :] = 0  # nothing above 11 kHz
    target = torch.fft.irfft(spectrum, 44100)
    preds = target + 1e-3 * floor
    assert log1p_distance(preds, target) < 0.05
    assert stft_distance(preds, target, 44100) > 0.3


def test_log1p_distance_of_a_gain() -> None:
    """Far above the knee the ratio of the levels, far below it next to nothing."""
    noise = torch.randn(2, 44100, generator=torch.Generator().manual_seed(0))
    assert log1p_distance(0.5 * noise, noise) == pytest.approx(math.log(2), abs=0.01)
    assert log1p_distance(0.5e-5 * noise, 1e-5 * noise) < 0.02


def test_polarity_by_channel(music_like: Pair) -> None:
    preds, target = music_like
    flipped = preds * torch.tensor([[1.0], [-1.0]])
    assert polarity_left(flipped, target) == polarity_left(preds, target)
    assert polarity_right(flipped, target) == -polarity_right(preds, target)
    assert polarity_left(0.01 * preds, target) == pytest.approx(polarity_left(preds, target))
    assert polarity_left(0 * preds, target) == 0
    assert math.isnan(polarity_right(preds, target * torch.tensor([[1.0], [0.0]])))
    noise = torch.randn(2, 44100, generator=torch.Generator().manual_seed(0))
    assert abs(polarity_left(noise[:1], noise[1:])) < 0.05


def test_known_correlation() -> None:
    """An orthogonal error at −10 dB: ρ = 1/√1.1."""
    time = torch.arange(44100) / 44100
    target = torch.sin(2 * torch.pi * 440 * time)[None]
    preds = target + 10 ** (-10 / 20) * torch.cos(2 * torch.pi * 440 * time)
    assert polarity_left(-3 * preds, target) == pytest.approx(-1 / math.sqrt(1.1), abs=1e-5)
