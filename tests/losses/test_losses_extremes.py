"""Silence, noise below the floor, full scale and half types: everything stays finite."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ear_sat.losses import LossBundle

LENGTH = 2000
HALF_TYPES = [torch.bfloat16, torch.float16]


def square_wave() -> Tensor:
    """Full scale, 441 Hz, both channels in opposite phase: (2, 2, LENGTH)."""
    wave = torch.where((torch.arange(LENGTH) // 50) % 2 == 0, 1.0, -1.0)
    return torch.stack((wave, -wave)).expand(2, 2, LENGTH).clone()


def steps() -> Tensor:
    """Digital silence with one full-scale sample."""
    audio = torch.zeros(2, 2, LENGTH)
    audio[..., LENGTH // 2] = 1
    return audio


SIGNALS: dict[str, Callable[[], Tensor]] = {
    "silence": lambda: torch.zeros(2, 2, LENGTH),
    "noise at 1e-8": lambda: 1e-8 * torch.randn(2, 2, LENGTH),
    "noise at the floor": lambda: 1e-5 * torch.randn(2, 2, LENGTH),
    "square wave": square_wave,
    "click": steps,
    "constant": lambda: torch.ones(2, 2, LENGTH),
    "noise": lambda: 0.1 * torch.randn(2, 2, LENGTH),
    "dual mono": lambda: 0.1 * torch.randn(2, 1, LENGTH).expand(2, 2, LENGTH).clone(),
    "left only": lambda: torch.cat((0.1 * torch.randn(2, 1, LENGTH), torch.zeros(2, 1, LENGTH)), 1),
}
PAIRS = [(a, b) for a in SIGNALS for b in SIGNALS if a in list(SIGNALS)[:4] or b in list(SIGNALS)[:4] or a == b]


@pytest.fixture(params=["defaults", "gain", "bins", "unweighted"])
def variant(request: pytest.FixtureRequest, every_term: dict[str, Any]) -> LossBundle:
    """Every term, in its default form, with gains or weights of the bins, and with the forms kept for comparison."""
    if request.param in ("gain", "bins"):
        for name in ("spectral", "adaptive"):
            every_term[name]["config"]["weighting_mode"] = request.param
    if request.param == "unweighted":
        for name in ("spectral", "adaptive"):
            every_term[name]["config"]["weighting"] = "none"
        for name in ("correlation", "derivative", "phasor"):
            every_term[name]["config"]["bin_weighting"] = "none"
        every_term["derivative"]["config"]["wrapping"] = "none"
    return LossBundle.from_config(every_term, 44100)


@pytest.mark.parametrize(("preds", "target"), PAIRS)
def test_finite_values_and_gradients(preds: str, target: str, variant: LossBundle) -> None:
    estimate = SIGNALS[preds]().requires_grad_()
    output = variant(estimate, SIGNALS[target]())
    for key, value in output.raw.items():
        (gradient,) = torch.autograd.grad(value, estimate, retain_graph=True, allow_unused=True)
        assert value.isfinite(), key
        assert gradient is None or gradient.isfinite().all(), key


@pytest.mark.parametrize("name", SIGNALS)
def test_identity_has_no_or_little_gradient(name: str, bundle: LossBundle) -> None:
    # At the target the terms have a kink; the subgradient may be anything finite, but a value of 0 must not explode.
    estimate = SIGNALS[name]().requires_grad_()
    output = bundle(estimate, estimate.detach().clone())
    output.total.backward()
    assert output.total.item() == pytest.approx(0, abs=1e-5)
    assert estimate.grad.isfinite().all()


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("name", ["silence", "noise at 1e-8", "noise at the floor", "square wave", "noise"])
def test_estimates_from_autocast(dtype: torch.dtype, name: str, bundle: LossBundle) -> None:
    # A stand-in for the decoder whose output is a half type.
    torch.manual_seed(0)
    decoder = nn.Conv1d(2, 2, 1, bias=False)
    nn.init.dirac_(decoder.weight)
    for target in (SIGNALS[name](), SIGNALS["noise"]()):
        decoder.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            estimate = decoder(SIGNALS[name]())
            assert estimate.dtype == dtype
            inside = bundle(estimate, target)
        outside = bundle(estimate, target)
        assert inside.raw.keys() == outside.raw.keys()
        # The bundle leaves autocast: not one operation may run in the half type.
        assert all(torch.equal(inside.raw[key], value) for key, value in outside.raw.items())
        assert all(value.dtype == torch.float32 and value.isfinite() for value in inside.raw.values())
        inside.total.backward()
        assert decoder.weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_float32_inside_autocast(dtype: torch.dtype, bundle: LossBundle) -> None:
    preds, target = SIGNALS["noise"](), SIGNALS["noise"]()
    outside = bundle(preds, target).total
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(bundle(preds, target).total, outside)


@pytest.mark.parametrize("dtype", [torch.float64, *HALF_TYPES])
def test_any_floating_type_is_taken(dtype: torch.dtype, bundle: LossBundle) -> None:
    preds, target = SIGNALS["noise"]().to(dtype), SIGNALS["noise"]().to(dtype)
    assert torch.equal(bundle(preds, target).total, bundle(preds.float(), target.float()).total)
