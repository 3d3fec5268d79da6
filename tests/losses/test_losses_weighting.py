"""K- and A-weighting against the standards, and what the two weighting modes do."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import freqz, lfilter
from torch import Tensor

from ear_sat.losses import STFT, LossBundle, Resolution, a_gain, bin_gain, k_gain

Noise = Callable[..., Tensor]
Single = Callable[..., LossBundle]

# ITU-R BS.1770-5, annex 1, tables 1 and 2: the coefficients at 48 kHz.
SHELF = ([1.53512485958697, -2.69169619940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
HIGH_PASS = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])


def decibels(gain: np.ndarray) -> np.ndarray:
    return 20 * np.log10(gain)


def test_k_gain_is_the_published_filter() -> None:
    frequency = np.geomspace(20, 23_900, 500)
    published = np.ones_like(frequency)
    for b, a in (SHELF, HIGH_PASS):
        published = published * np.abs(freqz(b, a, worN=frequency, fs=48_000)[1])
    # The standard prints 14 decimals; at 20 Hz the high-pass's 1 − 2z + z² loses five or six of them.
    assert np.abs(decibels(k_gain(frequency, 48_000)) - decibels(published)).max() < 1e-4


def test_k_gain_at_44100() -> None:
    # The response of the standard's two biquads, designed for 44.1 kHz; printed with two decimals.
    table = {20: -13.27, 100: -1.13, 500: 0.05, 1000: 0.70, 2000: 3.08, 4000: 3.97, 16_000: 4.05}
    gain = decibels(k_gain(np.array(list(table), dtype=float), 44_100))
    assert gain == pytest.approx(np.array(list(table.values())), abs=0.0051)


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 96_000])
def test_k_gain_hardly_depends_on_the_rate(rate: int) -> None:
    # Bilinear designs of one analogue prototype agree well below the Nyquist frequency.
    frequency = np.geomspace(20, rate / 8, 50)
    assert np.abs(decibels(k_gain(frequency, rate)) - decibels(k_gain(frequency, 48_000))).max() < 0.35
    assert k_gain(np.array([0.0]), rate)[0] == pytest.approx(0, abs=1e-9)


def test_bin_gain_matches_the_filters_in_time() -> None:
    # Ten seconds of noise: both paths see the same noise, so the band levels differ only by leakage and edges.
    rate, window = 48_000, 2048
    audio = np.random.default_rng(0).standard_normal(10 * rate)
    filtered = lfilter(*HIGH_PASS, lfilter(*SHELF, audio))
    stft = STFT(Resolution(window, window // 4))
    power, reference = (stft(torch.from_numpy(x).float()).abs().square().mean(-1) for x in (audio, filtered))
    weighted = power * bin_gain("k", window, rate).square()
    frequency = torch.fft.rfftfreq(window, 1 / rate)
    centres = 1000 * 10 ** (np.arange(-10, 14) / 10)
    assert centres[0] == pytest.approx(100) and centres[-1] == pytest.approx(19_953, abs=1)
    for centre in centres:
        band = (frequency >= centre * 10**-0.05) & (frequency < centre * 10**0.05)
        level = 10 * torch.log10(weighted[band].sum() / reference[band].sum())
        assert abs(level.item()) < 0.1, centre


def test_a_gain_is_the_standard() -> None:
    # IEC 61672-1, table 3: A-weighting at the exact midband frequencies, one decimal.
    table = {-15: -39.4, -12: -26.2, -9: -16.1, -6: -8.6, -3: -3.2, 0: 0.0, 3: 1.2, 6: 1.0, 9: -1.1, 12: -6.6}
    gain = decibels(a_gain(1000 * 10 ** (np.array(list(table)) / 10)))
    assert gain == pytest.approx(np.array(list(table.values())), abs=0.051)


def test_bin_gain_has_one_value_per_bin() -> None:
    gain = bin_gain("k", 64, 44_100)
    assert gain.shape == (33,) and gain.dtype == torch.float32
    assert gain[0].item() == pytest.approx(0, abs=1e-9)  # DC
    assert gain[1].item() == pytest.approx(k_gain(np.array([44_100 / 64]), 44_100)[0], rel=1e-6)
    assert bin_gain("none", 64, 44_100) is None


# --- what the modes do -----------------------------------------------------------------------------------------------

MODES = [("none", "prefilter"), ("k", "prefilter"), ("k", "bins"), ("a", "prefilter"), ("a", "bins")]


def plain_values(preds: Tensor, target: Tensor, gain: Tensor, mode: str) -> dict[str, float]:
    """The three parts on L and R by their formulas, double precision; every level is above floor and guard."""
    p, t, g = preds.abs().double(), target.abs().double(), gain.double().view(-1, 1)
    weight = torch.ones_like(g)
    if mode == "prefilter":
        p, t = g * p, g * t
    else:
        weight = g.square() / g.square().mean()
    floor = 1e-5
    norm = (weight * t.square()).sum((-2, -1)).sqrt()
    return {
        "log": (weight * (p.clamp_min(floor).log() - t.clamp_min(floor).log()).abs()).mean().item(),
        "convergence": ((weight * (p - t).square()).sum((-2, -1)).sqrt() / norm).mean().item(),
        "linear": (weight * (p - t).abs()).mean().item(),
    }


@pytest.mark.parametrize(("weighting", "mode"), MODES)
def test_parts_are_their_formulas(weighting: str, mode: str, noise: Noise, single: Single) -> None:
    window = 256
    preds, target = noise(), noise()
    stft, gain = STFT(Resolution(window, window // 4)), bin_gain(weighting, window, 44_100)
    expected = plain_values(stft(preds), stft(target), torch.ones(129) if gain is None else gain, mode)
    term = single(
        "ear_magnitude", list(expected), windows=[window], channels="lr", weighting=weighting, weighting_mode=mode
    )
    got = {key.removeprefix("term/"): value.item() for key, value in term(preds, target).raw.items()}
    assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("weighting", ["k", "a"])
def test_bin_weights_keep_a_constant_error(weighting: str, noise: Noise, single: Single) -> None:
    # Σg²e/Σg² of a constant e is e: a gain of −6 dB is an error of ln 2 in every bin, whatever the weights.
    target = noise()
    term = single("ear_magnitude", ["log", "convergence"], windows=[256], weighting=weighting, weighting_mode="bins")
    values = term(0.5 * target, target).raw
    # One or two of the 25,000 bins touch the floor.
    assert values["term/log"].item() == pytest.approx(np.log(2), abs=2e-4)
    assert values["term/convergence"].item() == pytest.approx(0.5, abs=1e-5)


def test_log_magnitudes_cancel_a_prefilter(noise: Noise, single: Single) -> None:
    # ln g|Ŷ| − ln g|Y| is free of g. Only where g puts a bin below the floor is anything lost: here DC, where g = 0.
    window = 256
    bins = window // 2 + 1
    preds, target = noise(), noise()
    unweighted = single("ear_magnitude", "log", windows=[window], weighting="none")(preds, target).total.item()
    prefiltered = single("ear_magnitude", "log", windows=[window], weighting="k")(preds, target).total.item()
    stft = STFT(Resolution(window, window // 4))

    def dc(x: Tensor) -> Tensor:
        left, right = stft(x)[:, :, 0].unbind(1)
        return torch.stack(((left + right) / 2, (left - right) / 2, left, right)).abs().log()

    lost = (dc(preds) - dc(target)).abs().mean().item() / bins
    # A handful of the 24,000 bins lie near the floor in spite of the level.
    assert prefiltered == pytest.approx(unweighted - lost, rel=1e-4)
    weighted = single("ear_magnitude", "log", windows=[window], weighting="k", weighting_mode="bins")
    assert abs(weighted(preds, target).total.item() - unweighted) > 1e-3


@pytest.mark.parametrize("mode", ["prefilter", "bins"])
def test_k_weighting_hears_treble_more_than_bass(mode: str, noise: Noise, single: Single) -> None:
    # The same error at 50 Hz and at 5 kHz: K weighs it by −4 dB and +4 dB, a ratio of 2.5 (squared as bin weights).
    target, time = noise(time=44_100, batch=1, level=0.05), torch.arange(44_100) / 44_100
    low, high = (target + 0.1 * torch.sin(2 * torch.pi * f * time) for f in (50, 5000))
    term = single("ear_magnitude", "linear", windows=[2048], weighting="k", weighting_mode=mode)
    ratio = term(high, target).total.item() / term(low, target).total.item()
    plain = single("ear_magnitude", "linear", windows=[2048], weighting="none")
    flat = plain(high, target).total.item() / plain(low, target).total.item()
    assert ratio > 1.8 * flat
