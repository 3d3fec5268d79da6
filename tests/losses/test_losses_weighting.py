"""K- and A-weighting against the standards, the filter of zero phase, and what the weighting modes do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import freqz, lfilter, sosfilt, sosfreqz
from torch import Tensor

from ear_sat.losses import STFT, LossBundle, MagnitudeTerm, Resolution, Weighting, a_gain, bin_gain, filtered, k_gain
from ear_sat.losses import term as term_module
from ear_sat.losses.term import DEFAULT_WINDOWS
from ear_sat.weighting import k_weighting_biquads

CONFIGS = Path(__file__).parents[2] / "model_configs"
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


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_k_gain_is_that_of_the_biquads_at_every_bin(rate: int) -> None:
    frequency = np.fft.rfftfreq(131_072, 1 / rate)[1:]
    response = sosfreqz(np.stack(k_weighting_biquads(rate)), worN=frequency, fs=rate)[1]
    assert np.abs(decibels(k_gain(frequency, rate)) - decibels(np.abs(response))).max() < 1e-4


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


# --- the filter ------------------------------------------------------------------------------------------------------

RATE = 44_100
#: K is given by its biquads, which are independent of ``k_gain``; A by the standard's formula.
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "k": lambda f: np.abs(sosfreqz(np.stack(k_weighting_biquads(RATE)), worN=f, fs=RATE)[1]),
    "a": a_gain,
}
FREQUENCIES = [30, 40, 63, 100, 250, 1000, 1682, 4000, 10_000, 16_000, 20_000]


def reference_filter(x: Tensor, weighting: str) -> Tensor:
    """The mirrored signal times the gains at the frequencies of its spectrum, double precision."""
    if weighting == "none":
        return x.double()
    mirrored = torch.cat((x, x.flip(-1)), -1).double()
    frequency = torch.fft.rfftfreq(mirrored.shape[-1], 1 / RATE).numpy()
    gain = torch.from_numpy(CURVES[weighting](frequency))
    return torch.fft.irfft(torch.fft.rfft(mirrored) * gain, mirrored.shape[-1])[..., : x.shape[-1]]


@pytest.mark.parametrize("weighting", CURVES)
@pytest.mark.parametrize("length", [1, 2, 3, 31, 1000, 1009, 65_536])
def test_filtered_is_its_definition(length: int, weighting: str) -> None:
    x = torch.randn(2, 2, length)
    y, expected = filtered(x, Weighting(weighting, RATE)), reference_filter(x, weighting)
    assert y.shape == x.shape and y.dtype == torch.float32
    assert (y - expected).abs().max() <= 1e-5 * x.abs().max()


@pytest.mark.parametrize("weighting", CURVES)
@pytest.mark.parametrize("window", [max(DEFAULT_WINDOWS), 256, min(DEFAULT_WINDOWS)])
def test_tones_have_the_level_of_the_curve_in_every_window(window: int, weighting: str, single: Single) -> None:
    # Against silence the linear part is the mean magnitude, so its ratio to the unweighted one is the gain.
    time = (torch.arange(RATE, dtype=torch.float64) + 0.5) / RATE
    silence = torch.zeros(1, 2, RATE)
    # A cosine goes on where it is mirrored. Cut anywhere, a tone has a kink, which A, −41 dB at 30 Hz, lets through.
    phases = (0.0, 0.3, 1.8) if weighting == "k" else (0.0,)
    terms = [
        single("ear_magnitude", "linear", windows=[window], channels="lr", weighting=w) for w in (weighting, "none")
    ]
    for frequency in FREQUENCIES:
        for phase in phases:
            tone = torch.cos(2 * torch.pi * frequency * time + phase).float().expand(1, 2, -1)
            weighted, plain = (term(tone, silence).total.item() for term in terms)
            expected = decibels(CURVES[weighting](np.array([frequency])))[0]
            assert decibels(np.array(weighted / plain)) == pytest.approx(expected, abs=0.1), frequency


@pytest.mark.parametrize("periods", [1, 3, 20])
@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_bursts_have_the_level_of_the_true_filter(frequency: float, periods: int) -> None:
    # The biquads shift the phases and we do not; the energy that they let through is the same.
    length = round(RATE / frequency * periods)
    time = torch.arange(length, dtype=torch.float64) / RATE
    burst = torch.sin(2 * torch.pi * frequency * time) * torch.hann_window(length, dtype=torch.float64)
    x = torch.zeros(2 * RATE, dtype=torch.float64)
    x[RATE // 2 : RATE // 2 + length] = burst
    causal = sosfilt(np.stack(k_weighting_biquads(RATE)), x.numpy())
    level = filtered(x.float(), Weighting("k", RATE)).double().norm().item() / np.linalg.norm(causal)
    assert decibels(np.array(level)) == pytest.approx(0, abs=0.1)


def test_filtered_has_no_delay_and_no_step_at_a_cut() -> None:
    x, curve = torch.randn(1, 1001), Weighting("k", RATE)
    assert torch.allclose(filtered(x.flip(-1), curve), filtered(x, curve).flip(-1), atol=1e-5)
    impulse = torch.zeros(20_001)
    impulse[10_000] = 1
    response = filtered(impulse, curve)
    assert response.argmax() == 10_000 and torch.allclose(response, response.flip(-1), atol=5e-7)  # 4 ulp
    # −100 dB of the peak after 50 ms: the high-pass falls with 4.2 ms.
    assert response[10_000 + RATE // 20 :].abs().max() < 1e-5
    # An offset, which has no gain, is gone up to the first and last sample.
    assert filtered(torch.full((5000,), 0.5), curve).abs().max() < 1e-6


def test_gradients_go_through_the_filter() -> None:
    audio = torch.randn(2, 10, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: filtered(x, Weighting("k", RATE)), audio)
    x, direction = torch.randn(2, 2, 777, requires_grad=True), torch.randn(2, 2, 777)
    ours, plain = filtered(x, Weighting("k", RATE)), reference_filter(x, "k")
    gradients = [torch.autograd.grad((y * direction).sum(), x)[0] for y in (ours, plain)]
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-5 * gradients[1].abs().max()


@pytest.mark.parametrize("weighting", CURVES)
def test_floor_is_the_least_gain(weighting: str) -> None:
    frequency = np.fft.rfftfreq(4096, 1 / RATE)
    plain, floored = (Weighting(weighting, RATE, floor).gain(frequency) for floor in (None, -20))
    assert plain[0] == pytest.approx(0, abs=1e-9) and floored[0] == pytest.approx(0.1)
    assert floored == pytest.approx(np.sqrt(plain**2 + 0.01))  # powers add
    constant = torch.full((3000,), 0.5)
    assert torch.allclose(filtered(constant, Weighting(weighting, RATE, -20)), 0.1 * constant, atol=1e-6)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("ear_vae*.json")), ids=lambda path: path.stem)
def test_only_the_papers_config_is_deaf_below_20_hz(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    bundle = LossBundle.from_config(config["training"]["loss_configs"], config["sample_rate"])
    (curve,) = {term.prefilter for term in bundle.terms if isinstance(term, MagnitudeTerm)}
    floor = None if path.stem == "ear_vae_paper" else -10
    assert curve == (None if path.stem == "ear_vae_demo" else Weighting("k", config["sample_rate"], floor))


def test_signals_are_filtered_once_and_for_the_magnitudes_only(
    every_term: dict[str, Any], noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[torch.Size, Weighting]] = []

    def counting(signals: Tensor, weighting: Weighting) -> Tensor:
        calls.append((signals.shape, weighting))
        return filtered(signals, weighting)

    monkeypatch.setattr(term_module, "filtered", counting)
    preds, target = noise(), noise()
    other = {**every_term["spectral"], "weights": {"log": 1.0}}
    values = {}
    for weighting in ("none", "k"):
        for name in ("spectral", "adaptive"):
            every_term[name]["config"]["weighting"] = weighting
        values[weighting] = LossBundle.from_config({**every_term, "other": other}, RATE)(preds, target).raw
    # Left and right of estimate and target; mid and side, both entries and all windows share them.
    assert calls == 2 * [(preds.shape, Weighting("k", RATE))]
    for key, value in values["none"].items():
        assert (value == values["k"][key]) == (not key.startswith(("spectral", "adaptive", "other"))), key


# --- what the modes do -----------------------------------------------------------------------------------------------

MODES = [("none", "prefilter"), *((weighting, mode) for weighting in "ka" for mode in ("prefilter", "gain", "bins"))]


def plain_values(preds: Tensor, target: Tensor, gain: Tensor, mode: str) -> dict[str, float]:
    """The three parts on L and R by their formulas, double precision; every level is above floor and guard."""
    p, t, g = preds.abs().double(), target.abs().double(), gain.double().view(-1, 1)
    weight = torch.ones_like(g)
    if mode == "gain":
        p, t = g * p, g * t
    elif mode == "bins":
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
    if mode == "prefilter":
        spectra = [stft(reference_filter(x, weighting).float()) for x in (preds, target)]
    else:
        spectra = [stft(x) for x in (preds, target)]
    expected = plain_values(*spectra, torch.ones(129) if gain is None else gain, mode)
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


def test_log_magnitudes_cancel_a_gain_on_the_bins(noise: Noise, single: Single) -> None:
    # ln g|Ŷ| − ln g|Y| is free of g. Only where g puts a bin below the floor is anything lost: here DC, where g = 0.
    window = 256
    bins = window // 2 + 1
    preds, target = noise(), noise()
    unweighted = single("ear_magnitude", "log", windows=[window], weighting="none")(preds, target).total.item()
    on_bins = {"windows": [window], "weighting": "k", "weighting_mode": "gain"}
    prefiltered = single("ear_magnitude", "log", **on_bins)(preds, target).total.item()
    stft = STFT(Resolution(window, window // 4))

    def dc(x: Tensor) -> Tensor:
        left, right = stft(x)[:, :, 0].unbind(1)
        return torch.stack(((left + right) / 2, (left - right) / 2, left, right)).abs().log()

    lost = (dc(preds) - dc(target)).abs().mean().item() / bins
    # A handful of the 24,000 bins lie near the floor in spite of the level.
    assert prefiltered == pytest.approx(unweighted - lost, rel=1e-4)
    weighted = single("ear_magnitude", "log", windows=[window], weighting="k", weighting_mode="bins")
    assert abs(weighted(preds, target).total.item() - unweighted) > 1e-3


@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
def test_k_weighting_hears_treble_more_than_bass(mode: str, noise: Noise, single: Single) -> None:
    # The same error at 50 Hz and at 5 kHz: K weighs it by −4 dB and +4 dB, a ratio of 2.5 (squared as bin weights).
    target, time = noise(time=44_100, batch=1, level=0.05), torch.arange(44_100) / 44_100
    low, high = (target + 0.1 * torch.sin(2 * torch.pi * f * time) for f in (50, 5000))
    term = single("ear_magnitude", "linear", windows=[2048], weighting="k", weighting_mode=mode)
    ratio = term(high, target).total.item() / term(low, target).total.item()
    plain = single("ear_magnitude", "linear", windows=[2048], weighting="none")
    flat = plain(high, target).total.item() / plain(low, target).total.item()
    assert ratio > 1.8 * flat
