"""The adaptive log, the contrast, phasors and the complex distance: values by hand, gains, gradients, silence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from ear_sat.cli.main import main
from ear_sat.losses import (
    CorrelationTerm,
    LossBundle,
    MagnitudeTerm,
    PhaseDerivativeTerm,
    Resolution,
    Spectra,
    SpectraPair,
    adaptive_log_distance,
    complex_distance,
    k_gain,
    phase_error,
    phasor_derivative_loss,
)
from ear_sat.losses.levels import guard, spread

Noise = Callable[..., Tensor]
Single = Callable[..., LossBundle]
RATE, N = 44100, 8
#: Name → type, part, config.
FORMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adaptive": ("ear_magnitude", "log", {"log_form": "adaptive"}),
    "contrast": ("ear_magnitude", "contrast", {}),
    "complex": ("ear_correlation", "complex", {}),
    "phasor if": ("ear_phase_derivative", "if", {"form": "phasor"}),
    "phasor gd": ("ear_phase_derivative", "gd", {"form": "phasor"}),
}


def form(single: Single, name: str, **config: Any) -> LossBundle:
    kind, part, own = FORMS[name]
    return single(kind, part, **own, **config)


def value_of(term: Any, preds: Tensor, target: Tensor, part: str) -> Tensor:
    """A part of a term of one window of 8 samples, from spectra in any precision."""
    return term.evaluate(SpectraPair(Spectra(preds), Spectra(target)), Resolution(N, 2), [part])[part]


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_adaptive_log_by_hand() -> None:
    # Half of the bins 0, the others 2 or 4: variances 1 and 4, σ = √5.
    target = torch.tensor([0.0, 2.0]).repeat(9, 4).expand(1, 1, 9, 8).to(torch.complex64)
    value = value_of(
        MagnitudeTerm(RATE, windows=[N], weighting="none", log_form="adaptive"), 2j * target, target, "log"
    )
    assert value.item() == pytest.approx(math.log((4 + 5**0.5) / (2 + 5**0.5)) / 2, rel=1e-6)


@pytest.mark.parametrize("theta", [0.0, 0.3, -2.0, 3.1, 4.0])
def test_phasors_cost_one_minus_the_cosine_of_the_step(theta: float) -> None:
    spectrum = torch.randn(2, 2, 9, 40, dtype=torch.complex64)
    term = PhaseDerivativeTerm(windows=[N], form="phasor")
    for part, other, steps in (("if", "gd", torch.arange(40)), ("gd", "if", torch.arange(9).view(-1, 1))):
        turned = spectrum * torch.polar(torch.ones(steps.shape), theta * steps)
        assert value_of(term, turned, spectrum, part).item() == pytest.approx(1 - math.cos(theta), abs=1e-5)
        assert value_of(term, turned, spectrum, other).item() == pytest.approx(0, abs=1e-6)


def test_phasors_are_the_steps_of_both_signals_compared() -> None:
    # 1 − Re(U·V*) of unit increments, as the formula has it, with random magnitudes and phases.
    preds, target = torch.randn(2, 1, 2, 9, 12, dtype=torch.complex128)
    u, v = (s[..., 1:] * s[..., :-1].conj() for s in (preds, target))
    weight = (target[..., 1:].abs() * target[..., :-1].abs()).sqrt()
    cost = 1 - ((u / u.abs()) * (v / v.abs()).conj()).real
    expected = ((weight * cost).sum((-2, -1)) / weight.sum((-2, -1))).mean()
    assert phasor_derivative_loss(phase_error(preds, target), -1).item() == pytest.approx(expected.item(), rel=1e-9)


def test_small_phase_errors_are_not_lost_in_rounding() -> None:
    # 1 − cos 1e-4 is 5e-9, of which float32 cannot tell 1 − Re(…) from 0.
    y = torch.ones(1, 1, 9, 12, dtype=torch.complex64)
    x = y * torch.polar(torch.ones(12), 1e-4 * torch.arange(12))
    assert phasor_derivative_loss(phase_error(x, y), -1).item() == pytest.approx(5e-9, rel=1e-3)


def test_a_single_frame_has_no_step() -> None:
    y = torch.ones(1, 2, 9, 1, dtype=torch.complex64)
    x = (1j * y).requires_grad_()
    loss = phasor_derivative_loss(phase_error(x, y), -1)
    loss.backward()
    assert loss.item() == 0 and x.grad is not None and x.grad.abs().max() == 0


@pytest.mark.parametrize(("factor", "expected"), [(1, 0.0), (0, math.log(2)), (-1, math.log(3)), (1j, math.log(2))])
def test_complex_distance_by_hand(factor: complex, expected: float) -> None:
    # All moduli equal: |Ŷ−Y|² is 0, 1, 4, 2 times |Y|², σ² is 2, 1, 2, 2 times.
    target = torch.polar(torch.full((2, 2, 9, 8), 0.3), 6 * torch.rand(2, 2, 9, 8))
    value = value_of(CorrelationTerm(windows=[N]), factor * target, target, "complex")
    assert value.item() == pytest.approx(expected, abs=1e-6)


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", FORMS)
def test_a_gain_of_both_signals_changes_nothing_above_the_guard(
    name: str, channels: int, noise: Noise, single: Single
) -> None:
    preds, target = noise(channels=channels), noise(channels=channels)
    term = form(single, name, windows=[256, 64])
    loud, plain, quiet = (term(gain * preds, gain * target).total.item() for gain in (7.0, 1.0, 1e-4))
    assert loud == pytest.approx(plain, rel=1e-4) and plain > 0.1
    if not name.startswith("phasor"):
        assert quiet < 0.1 * plain  # −100 dBFS: below the guard, differences fade out


@pytest.mark.parametrize("name", FORMS)
def test_a_target_gives_as_much_as_an_estimate(name: str, noise: Noise, single: Single) -> None:
    # All but the weights of the phasors look at both signals alike.
    preds, target = noise(level=0.05), noise()
    bins = {"bin_weighting": "none"} if name.startswith("phasor") else {}
    term = form(single, name, windows=[256, 64], **bins)
    assert term(preds, target).total.item() == pytest.approx(term(target, preds).total.item(), rel=1e-5)


def test_gradients_in_double_precision() -> None:
    """By finite differences. The Side is 40 dB down: σ is the guard, and constant, as it is to the gradient."""
    left = torch.randn(1, 1, 5, 4, dtype=torch.complex128)
    target = torch.cat((left, left + 0.01 * torch.randn_like(left)), 1)
    preds = (target + 0.001 * torch.randn(1, 2, 5, 4, dtype=torch.complex128)).requires_grad_()
    side: dict[str, Any] = {"windows": [N], "channels": "side"}
    terms = [
        (MagnitudeTerm(RATE, weighting_mode="bins", log_form="adaptive", **side).double(), "log"),
        (MagnitudeTerm(RATE, weighting_mode="gain", **side).double(), "contrast"),
        (MagnitudeTerm(RATE, windows=[N]).double(), "contrast"),
        (CorrelationTerm(**side), "complex"),
        (PhaseDerivativeTerm(windows=[N], form="phasor"), "if"),
        (PhaseDerivativeTerm(windows=[N], form="phasor", bin_weighting="none"), "gd"),
    ]
    for term, part in terms:
        value = partial(value_of, term, target=target, part=part)
        assert torch.autograd.gradcheck(value, preds, eps=1e-8, atol=1e-4, fast_mode=True), (term, part)


def test_the_scale_is_a_constant_to_the_gradient() -> None:
    preds, target = torch.rand(2, 1, 2, 9, 5, dtype=torch.float64)
    preds.requires_grad_()
    scale = torch.hypot(spread(preds), spread(target)).detach()[..., None, None]
    term = MagnitudeTerm(RATE, windows=[N], channels="lr", weighting="none", log_form="adaptive")
    value = value_of(term, preds, target, "log")
    plain = adaptive_log_distance(preds, target, scale).mean()
    assert torch.allclose(*(torch.autograd.grad(v, preds)[0] for v in (value, plain)), rtol=1e-9)
    x, y = torch.randn(2, 1, 2, 9, 5, dtype=torch.complex128)
    x.requires_grad_()
    power = (x.abs().square().mean((-2, -1)) + y.abs().square().mean((-2, -1))).detach()[..., None, None]
    plain = ((x - y).abs().square() / power + 1).log().mean()
    value = complex_distance(x, y, torch.tensor(1e-3))
    assert torch.allclose(*(torch.autograd.grad(v, x)[0] for v in (value, plain)), rtol=1e-9)


def test_the_guard_is_of_the_loudest_channel_and_of_full_scale() -> None:
    levels = guard(torch.tensor([[0.5, 0.2], [0.0, 0.02], [0.005, 0.0], [0.0, 0.0]]))
    assert levels.flatten().tolist() == pytest.approx([0.05, 0.002, 1e-3, 1e-3])


def test_a_quiet_side_owns_the_floored_log_only(noise: Noise, single: Single) -> None:
    # Mid at −20 dBFS, Side at −80 dBFS, both with an error of −20 dB: the Side's gradient against the Mid's.
    mid, side = noise(channels=1), noise(channels=1, level=1e-4)
    target, gain = torch.cat((mid + side, mid - side), 1), 1 + 0.1 * noise(channels=1, level=1.0)
    preds = torch.cat((gain * (mid + side), gain * (mid - side)), 1).requires_grad_()

    def share(name: str) -> float:
        kind, part, config = FORMS.get(name, ("ear_magnitude", "log", {}))
        side, mid = (
            torch.autograd.grad(single(kind, part, channels=c, windows=[256], **config)(preds, target).total, preds)[0]
            for c in ("side", "mid")
        )
        return (side.norm() / mid.norm()).item()

    assert share("floor") > 50
    assert all(share(name) < 12 for name in ("adaptive", "contrast", "complex"))  # 20 dB: the guard


def test_silent_bins_have_no_gradient() -> None:
    # Half of the bins as a lossy source leaves them: empty in both, but for rounding.
    target = torch.randn(1, 2, 5, 40, dtype=torch.complex64)
    target[..., 3:, :] *= 1e-7
    preds = (target * 1.1).requires_grad_()
    term = MagnitudeTerm(RATE, windows=[N], channels="lr", weighting="none", log_form="adaptive")
    value_of(term, preds, target, "log").backward()
    assert preds.grad is not None
    assert preds.grad[..., 3:, :].abs().max() == 0 and preds.grad[..., :3, :].abs().min() > 0


@pytest.mark.parametrize("part", ["log", "adaptive"])
def test_a_prefilter_moves_the_adaptive_log_between_bins(part: str, single: Single) -> None:
    """A loud tone sets σ; below it the noise's gradient follows |K| from octave to octave, relative to 1 kHz."""
    time = torch.arange(RATE) / RATE
    tone = 0.5 * torch.cos(2 * torch.pi * 1000 * time)
    target = tone + 3e-3 * torch.randn(1, 2, RATE)
    preds = target + 3e-3 * torch.randn(1, 2, RATE)
    config = {"windows": [2048], "channels": "lr", "log_form": "adaptive" if part == "adaptive" else "floor"}
    spectra = []
    for weighting in ("k", "none"):
        x = preds.clone().requires_grad_()
        single("ear_magnitude", "log", weighting=weighting, **config)(x, target).total.backward()
        assert x.grad is not None
        spectra.append(torch.fft.rfft(x.grad).abs().square().sum((0, 1)))
    frequency = torch.fft.rfftfreq(RATE, 1 / RATE)
    centres = np.array([1000, 62.5, 250, 4000, 16_000])
    bands = [(frequency >= f * 2**-0.5) & (frequency < f * 2**0.5) & ((frequency - 1000).abs() > 100) for f in centres]
    ratios = np.array([10 * (spectra[0][b].sum() / spectra[1][b].sum()).log10().item() for b in bands])
    expected = 20 * np.log10(k_gain(centres, RATE))
    assert np.abs(expected - expected[0]).max() > 3
    moved, within = (expected - expected[0], 0.5) if part == "adaptive" else (np.zeros(len(centres)), 1.0)
    assert ratios - ratios[0] == pytest.approx(moved, abs=within)


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("windows", [[101, 63, 16], [257], [500, 77]])
@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
def test_windows_of_any_length(mode: str, windows: list[int], noise: Noise) -> None:
    """Identity, gain and silence of every part; the frames are torch's own."""
    magnitude = {"windows": windows, "weighting_mode": mode}
    phases = {"windows": windows, "hop_factor": 0.3}
    bundle = LossBundle.from_config(
        {
            "floor": {"type": "ear_magnitude", "config": magnitude, "weights": dict.fromkeys(MagnitudeTerm.PARTS, 1)},
            "adaptive": {
                "type": "ear_magnitude",
                "config": {**magnitude, "log_form": "adaptive"},
                "weights": {"log": 1},
            },
            "c": {"type": "ear_correlation", "config": phases, "weights": {"correlation": 1, "complex": 1}},
            "p": {
                "type": "ear_phase_derivative",
                "config": {**phases, "form": "phasor"},
                "weights": {"if": 1, "gd": 1},
            },
            "w": {"type": "ear_phase_derivative", "config": phases, "weights": {"if": 1, "gd": 1}},
        },
        RATE,
    )
    target = noise(time=1001)
    preds = noise(time=1001).requires_grad_()
    assert bundle(target, target).total.item() == pytest.approx(0, abs=1e-5)
    output = bundle(preds, target)
    output.total.backward()
    assert min(output.raw.values()) > 0.001 and preds.grad is not None and preds.grad.isfinite().all()
    assert (preds.grad.abs().amax(dim=-1) > 0).all()
    assert bundle(torch.zeros_like(target), torch.zeros_like(target)).total.item() == 0
    term = LossBundle.from_config(
        {"x": {"type": "ear_magnitude", "config": {**magnitude, "weighting": "none", "channels": "lr"},
               "weights": {"linear": 1}}}, RATE)(preds, target)  # fmt: skip
    plain = []
    for window in windows:
        frames = [
            torch.stft(s.flatten(0, 1), window, window // 4, window=torch.hann_window(window), return_complex=True)
            for s in (preds.detach(), target)
        ]
        plain.append((frames[0].abs() - frames[1].abs()).abs().mean() * 4 / window)
    assert term.total.item() == pytest.approx(torch.stack(plain).mean().item(), rel=1e-5)


# --- in use ----------------------------------------------------------------------------------------------------------


class Echo(nn.Module):
    """A network of 36 weights that starts as a dull echo."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filter = nn.Conv1d(2, 2, 9, padding=4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.filter(x)
        return y


@pytest.mark.slow
def test_every_part_lowers_itself_in_20_steps(every_term: dict[str, Any], noise: Noise, single: Single) -> None:
    audio = noise(batch=1, time=300)
    terms = {name: term for name, term in every_term.items() if name not in ("discriminator", "bottleneck")}
    for term in terms.values():
        config = {**term["config"], "windows": [64]} if "config" in term else {}
        for part in term["weights"]:
            network, bundle = Echo(), single(term["type"], part, **config)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
            values = []
            for _ in range(21):
                value = bundle(network(audio), audio).total
                values.append(value.item())
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            assert values[-1] < 0.9 * values[0], (term, part, values)


def test_balance_has_a_row_for_every_part(
    every_term: dict[str, Any], noise: Noise, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = noise(batch=1, time=4096)[0].numpy().T
    for name, gain in (("reference", 1.0), ("estimate", 0.8)):
        soundfile.write(tmp_path / f"{name}.wav", gain * audio, RATE)
    losses = {name: entry for name, entry in every_term.items() if name != "discriminator"}
    config = {"model_type": "autoencoder", "sample_rate": RATE, "training": {"type": "ear", "loss_configs": losses}}
    (tmp_path / "model.json").write_text(json.dumps(config), encoding="utf-8")
    files = [f"--{key}={tmp_path / key}.wav" for key in ("reference", "estimate")]
    assert main(["balance", f"--model-config={tmp_path / 'model.json'}", *files]) == 0
    printed = capsys.readouterr().out
    terms = {name: entry["weights"] for name, entry in losses.items() if name != "bottleneck"}
    missing = [f"{name}/{part}" for name, parts in terms.items() for part in parts if f"{name}/{part}" not in printed]
    assert not missing
