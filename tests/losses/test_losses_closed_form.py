"""Gradients in closed form against autograd through the plain formulas: value, gradient, and silence."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from ear_sat.losses import FLOOR, STFT, LossBundle, Resolution, Spectra
from ear_sat.losses.adversarial import FEATURE_GUARD, feature_matching
from ear_sat.losses.angle import phase_difference, summed_step
from ear_sat.losses.power import LINEAR, SQUARED, Distance, log_distance, mixed_power, summed_distance
from ear_sat.losses.spectra import MIX
from ear_sat.losses.stft import frame_spectra, split
from ear_sat.weighting import k_gain

Noise = Callable[..., Tensor]
RATE, BINS, FRAMES = 44100, 9, 7
SHAPE = (2, 2, BINS, FRAMES)
LOG = log_distance()
DISTANCES = pytest.mark.parametrize("distance", [LOG, LINEAR, SQUARED], ids=["log", "linear", "squared"])
WEIGHTS = pytest.mark.parametrize("weight", [None, torch.linspace(0, 2, BINS).view(-1, 1)], ids=["plain", "weighted"])


def spectrum(*shape: int, dtype: torch.dtype = torch.complex64) -> Tensor:
    """White, of standard deviation 1: far above the floor."""
    return torch.randn(shape or SHAPE, dtype=dtype)


def power(dtype: torch.dtype = torch.float32) -> Tensor:
    """Powers from 1e-4 to 1, far above the floor and from each other."""
    return 10 ** (4 * torch.rand(SHAPE, dtype=dtype) - 4)


def assert_same(ours: Tensor, theirs: Tensor, leaf: Tensor, rtol: float = 1e-5) -> None:
    """Equal values, and equal gradients of a random mixture of them, relative to the largest."""
    direction = torch.randn_like(theirs)
    gradients = [torch.autograd.grad((x * direction).sum(), leaf, retain_graph=True)[0] for x in (ours, theirs)]
    for a, b in ((ours, theirs), gradients):
        assert (a - b).abs().max() <= rtol * b.abs().max()


# --- each operation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "hop"), [(16, 4), (16, 16), (15, 4), (16, 5), (17, 6), (30, 7)])
@pytest.mark.parametrize("length", [1, 12, 64, 75])
def test_stft(window: int, hop: int, length: int) -> None:
    x = torch.randn(2, 2, length, requires_grad=True)
    stft = STFT(Resolution(window, hop))
    padded = F.pad(x, (0, max(0, window - length))).flatten(0, 1)
    plain = torch.stft(padded, window, hop, window=stft.window, return_complex=True).unflatten(0, (2, 2))
    assert torch.equal(stft(x), plain)
    assert_same(torch.view_as_real(stft(x)), torch.view_as_real(plain), x)


def test_split() -> None:
    x = spectrum().requires_grad_()
    for complex_x in (x, x.conj(), x.mT.contiguous().mT):
        planes = split(complex_x)
        assert planes.shape == (2, *SHAPE) and planes[0].mT.is_contiguous()
        assert_same(planes, torch.stack((complex_x.real, complex_x.imag)), x)


@pytest.mark.parametrize("names", [("mid", "side", "left", "right"), ("left", "right"), ("side",), ("right", "mid")])
def test_mixed_power(names: tuple[str, ...]) -> None:
    x = spectrum().requires_grad_()
    left, right = x.unbind(1)
    plain = {"mid": (left + right) / 2, "side": (left - right) / 2, "left": left, "right": right}
    expected = torch.stack([plain[name].abs().square() for name in names], dim=1)
    assert_same(mixed_power(split(x), [MIX[name] for name in names]), expected, x)
    assert_same(Spectra(x).power(names), expected, x)


def test_power_of_mono() -> None:
    x = spectrum(2, 1, BINS, FRAMES).requires_grad_()
    assert_same(Spectra(x).power(("mid", "side")), x.abs().square(), x)


def test_a_quiet_side_keeps_its_gradient() -> None:
    # Left and right differ by 1e-6: the gradient 2·S is as exact as S itself.
    left = spectrum(1, 1, BINS, FRAMES)
    x = torch.cat((left, left + 1e-6 * spectrum(1, 1, BINS, FRAMES)), dim=1).requires_grad_()
    side = (x[:, 0] - x[:, 1]) / 2
    (gradient,) = torch.autograd.grad(Spectra(x).power(("side",)).sum(), x)
    assert torch.allclose(gradient[:, 0], side, rtol=1e-6, atol=0) and torch.equal(gradient[:, 0], -gradient[:, 1])


@DISTANCES
@WEIGHTS
def test_summed_distance(distance: Distance, weight: Tensor | None) -> None:
    preds, target = power().requires_grad_(), power()
    plain = distance.value(preds, target) * (1 if weight is None else weight)
    assert_same(summed_distance(preds, target, distance, weight), plain.sum(dim=(-2, -1)), preds)


@DISTANCES
def test_distances_of_silence(distance: Distance) -> None:
    levels = torch.tensor([0.0, 1e-30, 1e-20, 1e-12, 1e-10, 1.0])
    preds, target = torch.meshgrid(levels, levels, indexing="ij")
    preds = preds.clone().requires_grad_()
    value = summed_distance(preds, target, distance)
    (gradient,) = torch.autograd.grad(value, preds)
    assert value.isfinite() and gradient.isfinite().all()
    assert gradient[-1, :-1].min() > 0 and gradient[-1, -1] == 0
    if distance is LOG:  # up to the floor, −100 dBFS, nothing is compared
        assert (gradient[:4] == 0).all()


def test_phase_difference() -> None:
    x, y = spectrum().requires_grad_(), spectrum()
    assert_same(phase_difference(split(x), split(y)), torch.angle(x * y.conj()), x)


def test_phase_difference_of_silence_is_finite() -> None:
    levels = torch.tensor([0.0, 1e-30, 1e-12, FLOOR, 1.0], dtype=torch.complex64)
    x, y = torch.meshgrid(levels, levels, indexing="ij")
    x = x.clone().requires_grad_()
    angle = phase_difference(split(x), split(y))
    (gradient,) = torch.autograd.grad(angle.sum(), x)
    assert (angle == 0).all() and torch.view_as_real(gradient).isfinite().all()


@pytest.mark.parametrize("dim", [-1, -2])
def test_summed_step(dim: int) -> None:
    angle = (2 * torch.pi * torch.rand(SHAPE) - torch.pi).requires_grad_()
    weight = torch.rand(2, 2, *((BINS, FRAMES - 1) if dim == -1 else (BINS - 1, FRAMES)))
    phasor = torch.polar(torch.ones(SHAPE), angle)
    n = SHAPE[dim] - 1
    step = torch.angle(phasor.narrow(dim, 1, n) * phasor.narrow(dim, 0, n).conj()).abs()
    assert_same(summed_step(angle, weight, dim), (step * weight).sum(dim=(-2, -1)), angle)


def test_steps_around_the_circle() -> None:
    # From −π to π is no step at all, from 0 to π the largest.
    angle = torch.tensor([[-torch.pi, torch.pi, 0.0, torch.pi, torch.pi]]).requires_grad_()
    each = torch.stack([summed_step(angle, weight.view(1, -1), dim=-1) for weight in torch.eye(4)])
    assert each.tolist() == pytest.approx([0, torch.pi, torch.pi, 0], abs=1e-6)


def test_gradcheck() -> None:
    double = torch.float64
    for n in (8, 7):
        window, audio = torch.hann_window(n, dtype=double), torch.randn(2, 20, dtype=double).requires_grad_()
        assert gradcheck(lambda x, w=window: frame_spectra(x, w, 3), audio)
    x, y = (spectrum(1, 2, 5, 4, dtype=torch.complex128).requires_grad_(grad) for grad in (True, False))
    assert gradcheck(split, x)
    planes, target = split(x).detach().requires_grad_(), split(y)
    assert gradcheck(lambda p: mixed_power(p, [(0.5, 0.5), (0.3, -2.0), (0.0, 1.0)]), planes)
    assert gradcheck(lambda p: phase_difference(p, target), planes)
    p, q, weight = power(double).requires_grad_(), power(double), torch.rand(BINS, 1, dtype=double)
    for distance in (LOG, LINEAR, SQUARED):
        assert gradcheck(lambda p, d=distance: summed_distance(p, q, d, weight), p)
    for dim in (-1, -2):
        angle, weight = torch.rand(4, 4, dtype=double).requires_grad_(), torch.rand(4, 4, dtype=double)
        assert gradcheck(lambda a, w=weight, d=dim: summed_step(a, w.narrow(d, 0, 3), d), angle)


# --- the terms ----------------------------------------------------------------------------------------------------


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
    distance, norm = ((weight * s.square()).sum((-2, -1)).sqrt() for s in (error, reference))
    phasor, loudness = (x * y.conj()) / (x * y.conj()).abs(), y.abs()
    values = {
        "spectral/log": (weight * log.abs()).mean(),
        "spectral/convergence": (distance / norm).mean(),
        "spectral/linear": (weight * error.abs()).mean(),
        "correlation/correlation": ((loudness * (1 - phasor.real)).sum((-2, -1)) / loudness.sum((-2, -1))).mean(),
    }
    for part, dim in (("if", -1), ("gd", -2)):
        n = x.shape[dim] - 1
        step = phasor.narrow(dim, 1, n) * phasor.narrow(dim, 0, n).conj()
        pair = (loudness.narrow(dim, 1, n) * loudness.narrow(dim, 0, n)).sqrt()
        values[f"derivative/{part}"] = ((pair * step.angle().abs()).sum((-2, -1)) / pair.sum((-2, -1))).mean()
    return values


@pytest.fixture
def spectral_terms() -> Callable[[str], LossBundle]:
    def make(mode: str) -> LossBundle:
        parts = {
            "spectral": ("ear_magnitude", ["log", "convergence", "linear"], {"weighting_mode": mode}),
            "correlation": ("ear_correlation", ["correlation"], {}),
            "derivative": ("ear_phase_derivative", ["if", "gd"], {}),
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
    assert {value.item() for value in output.raw.values()} == {0.0}
    output.total.backward()
    assert preds.grad.abs().max() == 0


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


# --- feature matching ---------------------------------------------------------------------------------------------


def plain_matching(preds: Tensor, target: Tensor, normalize: bool) -> Tensor:
    distance = (preds - target).abs().mean()
    return distance / (target.abs().mean() + FEATURE_GUARD) if normalize else distance


def feature_maps(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Estimate and target as the discriminator's convolutions leave them; a sixth of the values are equal."""
    preds, target = (torch.randn(2, 3, 8, 5).to(dtype).to(memory_format=torch.channels_last) for _ in range(2))
    preds[0, 0] = target[0, 0]
    return preds.requires_grad_(), target


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_feature_matching(dtype: torch.dtype, normalize: bool) -> None:
    preds, target = feature_maps(dtype)
    ours = feature_matching(preds=[[preds]], target=[[target]], normalize=normalize)
    theirs = plain_matching(preds.float(), target.float(), normalize)
    assert ours.dtype == torch.float32 and ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    gradients = [torch.autograd.grad(x, preds)[0] for x in (ours, theirs)]
    assert gradients[0].dtype == dtype
    assert torch.allclose(*gradients, rtol=torch.finfo(dtype).eps + 1e-6) and (gradients[0][0, 0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_feature_gradients_are_laid_out_as_the_features(dtype: torch.dtype) -> None:
    preds, target = feature_maps(dtype)
    for real in (target, target.contiguous()):
        (gradient,) = torch.autograd.grad(feature_matching(preds=[[preds]], target=[[real]]), preds)
        assert gradient.stride() == preds.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_feature_matching_keeps_the_features_only(dtype: torch.dtype) -> None:
    preds, target = feature_maps(dtype)
    kept: set[int] = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.add(x.data_ptr() if x.ndim else 0) or x, lambda x: x):
        feature_matching(preds=[[preds]], target=[[target]])
    assert kept - {0} == {preds.data_ptr(), target.data_ptr()}
