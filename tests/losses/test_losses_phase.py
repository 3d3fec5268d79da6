"""Phase terms: what a known phase error costs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ear_sat.losses import (
    FLOOR,
    CorrelationTerm,
    LossBundle,
    MagnitudeTerm,
    PhaseDerivativeTerm,
    Resolution,
    Spectra,
    SpectraPair,
    correlation_loss,
    derivative_loss,
    phase_error,
)

Noise = Callable[..., Tensor]
Single = Callable[..., LossBundle]
WEIGHTINGS = ("none", "magnitude")
N, BINS, FRAMES = 256, 129, 40


@pytest.fixture
def spectrum() -> Tensor:
    """A random complex spectrum (2, 2, bins, frames) in double precision, every bin well above the floor."""
    return torch.randn(2, 2, BINS, FRAMES, dtype=torch.complex128)


def turned(spectrum: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate and target in single precision; the estimate's phase is ahead by ``phase``."""
    return (spectrum * torch.polar(torch.ones_like(phase), phase)).to(torch.complex64), spectrum.to(torch.complex64)


def bins() -> Tensor:
    return torch.arange(BINS, dtype=torch.float64).view(-1, 1)


def frames() -> Tensor:
    return torch.arange(FRAMES, dtype=torch.float64).view(1, -1)


def values(preds: Tensor, target: Tensor, weighting: str) -> dict[str, float]:
    """The three phase values, by the functions and by the terms, which must agree."""
    error = phase_error(preds, target, weighting)
    by_function = {
        "correlation": correlation_loss(error).item(),
        "if": derivative_loss(error, -1).item(),
        "gd": derivative_loss(error, -2).item(),
    }
    pair, resolution = SpectraPair(Spectra(preds), Spectra(target)), Resolution(N, N // 4)
    correlation = CorrelationTerm(windows=[N], bin_weighting=weighting)
    derivative = PhaseDerivativeTerm(windows=[N], bin_weighting=weighting)
    by_term = {
        **correlation.evaluate(pair, resolution, ["correlation"]),
        **derivative.evaluate(pair, resolution, ["if", "gd"]),
    }
    assert {key: value.item() for key, value in by_term.items()} == by_function
    return by_function


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("samples", [1, -1, 5, 100])
def test_linear_phase_over_bins_is_group_delay(weighting: str, samples: int, spectrum: Tensor) -> None:
    # e^{−j2πkd/N}: a delay of d samples costs 2πd/N per bin, wrapped. Float32 phases are exact to about 1e-6.
    result = values(*turned(spectrum, -2 * torch.pi * samples / N * bins()), weighting)
    assert result["gd"] == pytest.approx(2 * torch.pi * abs(samples) / N, abs=1e-5)
    assert result["if"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("theta", [0.3, -2.0, 3.1, 4.0])
def test_linear_phase_over_frames_is_frequency(weighting: str, theta: float, spectrum: Tensor) -> None:
    result = values(*turned(spectrum, theta * frames()), weighting)
    wrapped = abs(theta) if abs(theta) <= torch.pi else 2 * torch.pi - abs(theta)
    assert result["if"] == pytest.approx(wrapped, abs=1e-5)
    assert result["gd"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("phi", [0.0, 0.5, -1.5, 3.0])
def test_constant_phase_costs_its_cosine_only(weighting: str, phi: float, spectrum: Tensor) -> None:
    result = values(*turned(spectrum, torch.tensor(phi, dtype=torch.float64)), weighting)
    assert result["correlation"] == pytest.approx(1 - torch.tensor(phi).cos().item(), abs=1e-5)
    assert result["if"] == pytest.approx(0, abs=1e-5) and result["gd"] == pytest.approx(0, abs=1e-5)


def test_phase_costs_no_magnitude(spectrum: Tensor) -> None:
    preds, target = turned(spectrum, 1 * frames() - 2 * torch.pi / N * bins())
    pair = SpectraPair(Spectra(preds), Spectra(target))
    for channels in ("lr", "ms", "mslr"):
        term = MagnitudeTerm(44100, windows=[N], channels=channels)
        # The phase error is the same in both channels, so it does not show in M and S either.
        for part, value in term.evaluate(pair, Resolution(N, N // 4), term.PARTS).items():
            assert value.item() == pytest.approx(0, abs=1e-5), part


def test_combined_errors_add_up_in_their_own_dimension(spectrum: Tensor) -> None:
    result = values(*turned(spectrum, 0.7 * frames() - 2 * torch.pi * 3 / N * bins()), "magnitude")
    assert result["if"] == pytest.approx(0.7, abs=1e-5)
    assert result["gd"] == pytest.approx(6 * torch.pi / N, abs=1e-5)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_random_phase_costs_the_mean(weighting: str, spectrum: Tensor) -> None:
    # Uniform phase: mean of 1 − cos is 1, mean |wrapped difference| is π/2; some 20,000 bins give 1 % and better.
    result = values(*turned(spectrum, 2 * torch.pi * torch.rand(2, 2, BINS, FRAMES, dtype=torch.float64)), weighting)
    assert result["correlation"] == pytest.approx(1, abs=0.04)
    assert result["if"] == pytest.approx(torch.pi / 2, abs=0.06)
    assert result["gd"] == pytest.approx(torch.pi / 2, abs=0.06)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_gain_costs_nothing(weighting: str, gain: float, noise: Noise, single: Single) -> None:
    target = noise()
    correlation = single("ear_correlation", "correlation", windows=[N], bin_weighting=weighting)
    derivative = single("ear_phase_derivative", ["if", "gd"], windows=[N], bin_weighting=weighting)
    assert correlation(gain * target, target).total.item() == pytest.approx(0, abs=1e-6)
    assert derivative(gain * target, target).total.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_polarity_flip_costs_two(weighting: str, noise: Noise, single: Single) -> None:
    target = noise()
    correlation = single("ear_correlation", "correlation", windows=[512, 64], bin_weighting=weighting)
    assert correlation(-target, target).total.item() == pytest.approx(2, abs=1e-6)
    derivative = single("ear_phase_derivative", ["if", "gd"], windows=[512, 64], bin_weighting=weighting)
    assert derivative(-target, target).total.item() == pytest.approx(0, abs=1e-5)  # constant π, wrapped


def test_magnitude_weighting_is_the_formula(spectrum: Tensor) -> None:
    preds, target = turned(spectrum, torch.rand(BINS, FRAMES, dtype=torch.float64))
    weight = phase_error(preds, target, "magnitude").weight
    assert torch.allclose(weight.mean(dim=(-2, -1)), torch.ones(2, 2), atol=1e-5)
    expected = target.abs() / target.abs().mean(dim=(-2, -1), keepdim=True)
    assert torch.allclose(weight, expected, rtol=1e-5)
    cosine = (preds * target.conj()).real / (preds.abs() * target.abs())
    assert values(preds, target, "magnitude")["correlation"] == pytest.approx(
        (expected * (1 - cosine)).mean().item(), rel=1e-4
    )


def test_pairs_of_bins_weigh_their_geometric_mean(spectrum: Tensor) -> None:
    preds, target = turned(spectrum, torch.rand(BINS, FRAMES, dtype=torch.float64))
    phase = (preds * target.conj()).angle()
    step = torch.polar(torch.ones(()), phase.diff(dim=-2)).angle().abs()
    weight = (target[..., 1:, :].abs() * target[..., :-1, :].abs()).sqrt()
    expected = ((weight * step).sum((-2, -1)) / weight.sum((-2, -1))).mean().item()
    assert values(preds, target, "magnitude")["gd"] == pytest.approx(expected, rel=1e-4)


def test_bins_near_silence_own_the_unweighted_form_only(spectrum: Tensor) -> None:
    # Three quarters of the bins at −90 dBFS with random phase beside exact ones near 0 dBFS.
    quiet = torch.ones(BINS, 1, dtype=torch.float64)
    quiet[BINS // 4 :] = 10 ** (-90 / 20)
    phase = 2 * torch.pi * torch.rand(2, 2, BINS, FRAMES, dtype=torch.float64) * (quiet < 1)
    preds, target = turned(spectrum * quiet, phase)
    assert values(preds, target, "none")["correlation"] > 0.6
    assert values(preds, target, "magnitude")["correlation"] < 1e-3


@pytest.mark.parametrize("silent", ["preds", "target"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_bins_below_the_floor_do_not_count(silent: str, weighting: str, spectrum: Tensor) -> None:
    preds, target = turned(spectrum, 0.5 * frames())
    half = (preds if silent == "preds" else target)[..., : BINS // 2, :]
    half.mul_(0.5 * FLOOR / half.abs())
    half[..., 0, :] = 0
    preds.requires_grad_()
    error = phase_error(preds, target, weighting)
    assert (error.weight > 0).sum(dim=(-2, -1)).tolist() == [[(BINS - BINS // 2) * FRAMES] * 2] * 2
    loss = correlation_loss(error) + derivative_loss(error, -1) + derivative_loss(error, -2)
    loss.backward()
    assert derivative_loss(error, -1).item() == pytest.approx(0.5, abs=1e-5)
    assert preds.grad.isfinite().all()
    assert preds.grad[..., : BINS // 2, :].abs().max() == 0
    assert preds.grad[..., BINS // 2 :, :].abs().max() > 0


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_no_active_bin_is_zero(weighting: str) -> None:
    preds = torch.zeros(1, 2, BINS, FRAMES, dtype=torch.complex64, requires_grad=True)
    error = phase_error(preds, torch.ones(1, 2, BINS, FRAMES, dtype=torch.complex64), weighting)
    loss = correlation_loss(error) + derivative_loss(error, -1) + derivative_loss(error, -2)
    loss.backward()
    assert loss.item() == 0 and preds.grad.abs().max() == 0


def test_a_single_frame_has_no_frequency(spectrum: Tensor) -> None:
    preds, target = turned(spectrum[..., :1], torch.rand(BINS, 1, dtype=torch.float64))
    assert derivative_loss(phase_error(preds, target), -1).item() == 0


def test_gradient_does_not_depend_on_the_weights_of_others(spectrum: Tensor) -> None:
    # The weights are the target's: no gradient reaches the estimate through them, so a gain leaves the loss flat.
    preds, target = turned(spectrum, torch.rand(BINS, FRAMES, dtype=torch.float64))
    gain = torch.ones((), requires_grad=True)
    error = phase_error(gain * preds, target, "magnitude")
    (correlation_loss(error) + derivative_loss(error, -1)).backward()
    assert gain.grad.abs().item() < 1e-5


# --- wrapping --------------------------------------------------------------------------------------------------------


def test_wrapping_none_does_not_know_a_delay_from_noise(noise: Noise, single: Single) -> None:
    # A one-sample delay is 2π/N per bin. The bins' wrapped phases are shifted by up to π, so that half of them jump by
    # 2π across ±π, and their differences with them.
    window = 512
    audio = noise(batch=1, time=16_000)
    target, preds = audio[..., 1:], audio[..., :-1]
    principal = single("ear_phase_derivative", "gd", windows=[window])(preds, target).total.item()
    unwrapped = single("ear_phase_derivative", "gd", windows=[window], wrapping="none")(preds, target).total.item()
    # A frame's edges hold one other sample, which adds phase noise of the same order as the delay itself.
    assert 2 * torch.pi / window == pytest.approx(principal, rel=0.5)
    assert unwrapped > 2


def test_both_wrappings_agree_on_equal_signals(noise: Noise, single: Single) -> None:
    target = noise()
    for wrapping in ("principal", "none"):
        term = single("ear_phase_derivative", ["if", "gd"], windows=[N], wrapping=wrapping)
        assert term(target, target).total.item() == pytest.approx(0, abs=1e-6)
        assert term(0.5 * target, target).total.item() == pytest.approx(0, abs=1e-6)


def test_mid_and_side_can_be_asked_for(noise: Noise, single: Single) -> None:
    target = noise()
    mid, side = (target[:, :1] + target[:, 1:]) / 2, (target[:, :1] - target[:, 1:]) / 2
    preds = torch.cat((-mid + side, -mid - side), dim=1)  # M flipped, S kept

    def cost(channels: str) -> float:
        term = single("ear_correlation", "correlation", windows=[N], channels=channels)
        return term(preds, target).total.item()

    assert cost("m") == pytest.approx(2, abs=1e-5)
    assert cost("s") == pytest.approx(0, abs=1e-5)
    assert cost("ms") == pytest.approx(1, abs=1e-5)
