"""Every term against its formula, written out a second time; alone and in a bundle; compiled; and in silence."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ear_sat.losses import (
    FLOOR,
    LOSS_TYPES,
    STFT,
    LossBundle,
    Resolution,
    Spectra,
    SpectralTerm,
    derivative_loss,
    phase_error,
)
from ear_sat.losses.levels import root_mean_square
from ear_sat.losses.magnitude import linear_distance, log_distance
from ear_sat.weighting import k_gain

Noise = Callable[..., Tensor]
RATE = 44100


def mirror_filtered(x: Tensor) -> Tensor:
    """K-weighted with zero phase, by autograd's own FFT."""
    spectrum = torch.fft.rfft(torch.cat((x, x.flip(-1)), -1))
    gain = k_gain(torch.fft.rfftfreq(2 * x.shape[-1], 1 / RATE, dtype=torch.float64).numpy(), RATE)
    return torch.fft.irfft(spectrum * torch.from_numpy(gain).float())[..., : x.shape[-1]]


def plain_terms(preds: Tensor, target: Tensor, window: int, mode: str) -> dict[str, Tensor]:
    """Every part at one resolution, as defined, for signals so loud that neither floor nor guard matters."""
    stft = STFT(Resolution(window, window // 4))
    x, y = stft(preds), stft(target)
    gain = torch.from_numpy(k_gain(torch.arange(window // 2 + 1).numpy() * RATE / window, RATE)).float().view(-1, 1)
    weight = gain.square() / gain.square().mean()
    heard = [stft(mirror_filtered(s)) for s in (preds, target)] if mode == "prefilter" else [x, y]
    mslr = [torch.cat((s.mean(1, True), (s[:, :1] - s[:, 1:]) / 2, s), 1) if s.shape[1] == 2 else s for s in heard]
    magnitude, reference = (s.abs() * (gain if mode == "gain" else 1) for s in mslr)
    if mode != "bins":
        weight = torch.ones_like(weight)
    error = magnitude - reference
    log = magnitude.clamp_min(FLOOR).log() - reference.clamp_min(FLOOR).log()
    distance, norm, total = (
        (weight * s.square()).sum((-2, -1)).sqrt() for s in (error, reference, error + 2 * reference)
    )
    means = [(weight * s).mean((-2, -1), True) for s in (magnitude, reference)]
    variances = [
        (weight * (s - m).square()).mean((-2, -1), True) for s, m in zip((magnitude, reference), means, strict=True)
    ]
    sigma = sum(variances).sqrt().detach()
    adaptive = (magnitude.clamp_min(FLOOR) / sigma + 1).log() - (reference.clamp_min(FLOOR) / sigma + 1).log()
    power = (x.abs().square().mean((-2, -1), True) + y.abs().square().mean((-2, -1), True)).detach()
    phasor, loudness = (x * y.conj()) / (x * y.conj()).abs(), y.abs()
    values = {
        "spectral/log": (weight * log.abs()).mean(),
        "spectral/convergence": (distance / norm).mean(),
        "spectral/contrast": (distance / total).mean(),
        "spectral/linear": (weight * error.abs()).mean(),
        "adaptive/log": (weight * adaptive.abs()).mean(),
        "correlation/correlation": ((loudness * (1 - phasor.real)).sum((-2, -1)) / loudness.sum((-2, -1))).mean(),
        "correlation/complex": ((x - y).abs().square() / power + 1).log().mean(),
    }
    for part, dim in (("if", -1), ("gd", -2)):
        n = x.shape[dim] - 1
        step = phasor.narrow(dim, 1, n) * phasor.narrow(dim, 0, n).conj()
        pair = (loudness.narrow(dim, 1, n) * loudness.narrow(dim, 0, n)).sqrt()
        for name, cost in (("derivative", step.angle().abs()), ("phasor", 1 - step.real)):
            values[f"{name}/{part}"] = ((pair * cost).sum((-2, -1)) / pair.sum((-2, -1))).mean()
    return values


@pytest.fixture
def spectral_terms() -> Callable[[str], LossBundle]:
    def make(mode: str) -> LossBundle:
        parts = {
            "spectral": ("ear_magnitude", ["log", "convergence", "contrast", "linear"], {"weighting_mode": mode}),
            "adaptive": ("ear_magnitude", ["log"], {"weighting_mode": mode, "log_form": "adaptive"}),
            "correlation": ("ear_correlation", ["correlation", "complex"], {}),
            "derivative": ("ear_phase_derivative", ["if", "gd"], {}),
            "phasor": ("ear_phase_derivative", ["if", "gd"], {"form": "phasor"}),
        }
        config = {
            name: {"type": kind, "weights": dict.fromkeys(keys, 1.0), "config": {"windows": [128], **more}}
            for name, (kind, keys, more) in parts.items()
        }
        return LossBundle.from_config(config, RATE)

    return make


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
def test_terms_equal_their_definitions(
    mode: str, channels: int, noise: Noise, spectral_terms: Callable[[str], LossBundle]
) -> None:
    preds, target = noise(channels=channels).requires_grad_(), noise(channels=channels)
    ours, plain = spectral_terms(mode)(preds, target), plain_terms(preds, target, 128, mode)
    assert ours.raw.keys() == plain.keys()
    for key, value in plain.items():
        # A gradient's largest sample belongs to the bin nearest to 0; float32 knows that bin to some 1e-5.
        assert ours.raw[key].item() == pytest.approx(value.item(), rel=1e-5), key
        gradients = [torch.autograd.grad(v, preds, retain_graph=True)[0] for v in (ours.raw[key], value)]
        assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm(), key
    # Each term walked back through the shared graph alone: together they are the gradient of the total.
    (total,) = torch.autograd.grad(ours.total, preds, retain_graph=True)
    each = [torch.autograd.grad(value, preds, retain_graph=True)[0] for value in ours.weighted.values()]
    assert (torch.stack(each).sum(0) - total).norm() <= 1e-5 * total.norm()


@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
@pytest.mark.parametrize("level", [0.1, 1e-5, 0.0])
def test_identity_is_exactly_zero(
    level: float, mode: str, noise: Noise, spectral_terms: Callable[[str], LossBundle]
) -> None:
    target = noise(level=level)
    preds = target.clone().requires_grad_()
    output = spectral_terms(mode)(preds, target)
    # A phasor's modulus is 1 to a rounding, whose square is left.
    assert all(value.item() <= (1e-14 if key.startswith("phasor") else 0) for key, value in output.raw.items())
    output.total.backward()
    assert preds.grad.abs().max() <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
def test_compiled(mode: str, noise: Noise, spectral_terms: Callable[[str], LossBundle]) -> None:
    torch._dynamo.reset()
    bundle = spectral_terms(mode)
    preds, target = noise(time=1000).requires_grad_(), noise(time=1000)
    totals = [f(preds, target).total for f in (bundle, torch.compile(bundle, backend="aot_eager"))]
    gradients = [torch.autograd.grad(total, preds)[0] for total in totals]
    assert totals[0].item() == pytest.approx(totals[1].item(), rel=1e-6)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6 * gradients[0].abs().max().item())


@pytest.mark.parametrize("kind", ["ear_magnitude", "ear_correlation", "ear_phase_derivative"])
def test_a_term_alone_is_the_term_in_a_bundle(kind: str, noise: Noise) -> None:
    preds, target = noise(level=0.05).requires_grad_(), noise()
    cls = LOSS_TYPES[kind]
    assert isinstance(cls, type) and issubclass(cls, SpectralTerm)
    weights = dict.fromkeys(cls.PARTS, 1.0)
    bundle = LossBundle.from_config({"term": {"type": kind, "weights": weights}}, RATE)
    term = cls(**({"sample_rate": RATE} if kind == "ear_magnitude" else {}))
    alone, raw = term(preds, target), bundle(preds, target).raw
    assert {f"term/{part}": value.item() for part, value in alone.items()} == {k: v.item() for k, v in raw.items()}
    assert list(alone) == list(cls.PARTS)
    with pytest.raises(ValueError, match="batch, 1 or 2, time"):
        term(preds[0], target[0])


def test_a_term_alone_rounds_nothing_under_autocast_and_pulls_at_the_estimate_only(noise: Noise) -> None:
    preds, target = noise().requires_grad_(), noise().requires_grad_()
    term = LOSS_TYPES["ear_correlation"]()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = term(preds, target)["correlation"]
    assert rounded.item() == term(preds, target)["correlation"].item() and rounded.dtype == torch.float32
    rounded.backward()
    assert preds.grad is not None and preds.grad.norm() > 0 and target.grad is None


def test_a_quiet_side_keeps_its_gradient() -> None:
    # Left and right differ by 1e-6: the gradient of the side's magnitude is as exact as the side itself.
    left = torch.randn(1, 1, 9, 7, dtype=torch.complex64)
    x = torch.cat((left, left + 1e-6 * torch.randn(1, 1, 9, 7, dtype=torch.complex64)), dim=1).requires_grad_()
    side = ((x[:, 0] - x[:, 1]) / 2).detach()
    (gradient,) = torch.autograd.grad(Spectra(x).magnitude(("side",)).sum(), x)
    assert torch.allclose(gradient[:, 0], side / side.abs() / 2, rtol=1e-5, atol=0)
    assert torch.equal(gradient[:, 0], -gradient[:, 1])


@pytest.mark.parametrize("distance", [log_distance, linear_distance, lambda p, q: root_mean_square(p - q)])
def test_distances_of_silence_have_finite_gradients(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    levels = torch.tensor([0.0, 1e-30, 1e-20, 1e-12, 0.9e-5, 1.0], dtype=torch.complex64)
    preds, target = torch.meshgrid(levels, levels, indexing="ij")
    preds = preds.clone().requires_grad_()
    values = distance(preds.abs(), target.abs())
    (gradient,) = torch.autograd.grad(values.sum(), preds)
    assert values.isfinite().all() and torch.view_as_real(gradient).isfinite().all()
    assert gradient[-1, :-1].real.min() > 0 and (distance is not log_distance or (gradient[:5] == 0).all())


def test_phase_error_of_silence_is_zero_with_a_finite_gradient() -> None:
    levels = torch.tensor([0.0, 1e-30, 1e-12, FLOOR, 1.0], dtype=torch.complex64)
    x, y = torch.meshgrid(levels, levels, indexing="ij")
    x = x.clone().view(1, 1, 5, 5).requires_grad_()
    error = phase_error(x, y.view(1, 1, 5, 5))
    (gradient,) = torch.autograd.grad(error.angle.sum(), x)
    assert (error.angle == 0).all() and torch.view_as_real(gradient).isfinite().all()
    assert (error.weight > 0).sum() == 1


@pytest.mark.parametrize("dim", [-1, -2])
def test_phase_steps_are_wrapped_around_the_circle(dim: int) -> None:
    # From −π to π is no step at all, from 0 to π the largest.
    for angles, step in (((-3.0, 3.0), 2 * torch.pi - 6), ((0.0, 3.0), 3.0), ((3.0, 3.0), 0.0)):
        spectrum = torch.polar(torch.ones(2), torch.tensor(angles)).view(1, 1, 1, 2)
        spectrum = spectrum if dim == -1 else spectrum.mT
        error = phase_error(spectrum, torch.ones_like(spectrum))
        assert derivative_loss(error, dim).item() == pytest.approx(step, abs=1e-5)
