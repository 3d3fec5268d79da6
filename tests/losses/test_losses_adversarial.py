"""Adversarial forms and feature matching in closed form, and the gradient norm at the output."""

import math

import pytest
import torch
from torch import Tensor

from ear_sat.losses import FORMS, discriminator_loss, feature_matching, generator_loss, gradient_norms
from ear_sat.losses.adversarial import FEATURE_GUARD

# Logits of two resolutions of different size: each counts the same.
SHAPES = ((2, 1, 4, 5), (2, 1, 9, 3))


def constant(value: float, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.full(shape, value, dtype=dtype) for shape in SHAPES]


#: Discriminator's and generator's loss of one pair of logits, written down again.
REFERENCE = {
    "lsgan": (lambda r, f: (r - 1) ** 2 + f**2, lambda r, f: (f - 1) ** 2),
    "hinge": (lambda r, f: max(0.0, 1 - r) + max(0.0, 1 + f), lambda r, f: -f),
    "relativistic": (lambda r, f: math.log1p(math.exp(f - r)), lambda r, f: math.log1p(math.exp(r - f))),
}
#: The same on tensors of float64.
PLAIN = {
    "lsgan": (lambda r, f: (r - 1) ** 2 + f**2, lambda r, f: (f - 1) ** 2),
    "hinge": (lambda r, f: (1 - r).clamp(min=0) + (1 + f).clamp(min=0), lambda r, f: -f),
    "relativistic": (lambda r, f: torch.log1p(torch.exp(f - r)), lambda r, f: torch.log1p(torch.exp(r - f))),
}


@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize(("real", "fake"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (-1.0, 3.0), (4.0, -2.0)])
def test_closed_form(loss: str, real: float, fake: float) -> None:
    of_discriminator, of_generator = REFERENCE[loss]
    logits = constant(real), constant(fake)
    assert discriminator_loss(*logits, loss).item() == pytest.approx(of_discriminator(real, fake))
    assert generator_loss(logits[1], logits[0], loss).item() == pytest.approx(of_generator(real, fake))


@pytest.mark.parametrize("loss", FORMS)
def test_resolutions_count_the_same(loss: str) -> None:
    real, fake = (
        [torch.full(shape, v) for shape, v in zip(SHAPES, values, strict=True)] for values in ((1, 3), (2, 5))
    )
    of_discriminator, of_generator = REFERENCE[loss]
    expected = (of_discriminator(1, 2) + of_discriminator(3, 5)) / 2, (of_generator(1, 2) + of_generator(3, 5)) / 2
    assert (discriminator_loss(real, fake, loss).item(), generator_loss(fake, real, loss).item()) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("loss", FORMS)
def test_gradients_are_those_of_the_plain_formulas_in_float64(loss: str) -> None:
    real, fake = ([torch.randn(shape, requires_grad=True) for shape in SHAPES] for _ in range(2))
    wide = [[x.detach().double().requires_grad_() for x in logits] for logits in (real, fake)]
    ours = discriminator_loss(real, fake, loss), generator_loss(fake, real, loss)
    plain = [torch.stack([of(r, f).mean() for r, f in zip(*wide, strict=True)]).mean() for of in PLAIN[loss]]
    for value, reference in zip(ours, plain, strict=True):
        assert value.item() == pytest.approx(reference.item(), rel=1e-6)
    assert torch.autograd.grad(ours[1], real, allow_unused=True, retain_graph=True) == (None, None)  # detached
    for got, wanted in (
        (torch.autograd.grad(ours[0], [*real, *fake]), torch.autograd.grad(plain[0], [*wide[0], *wide[1]])),
        (torch.autograd.grad(ours[1], fake), torch.autograd.grad(plain[1], wide[1])),
    ):
        for a, b in zip(got, wanted, strict=True):
            assert a.shape == b.shape and torch.allclose(a.double(), b, rtol=1e-5, atol=1e-9)


def test_the_relativistic_form_sees_differences_only() -> None:
    real, fake = ([torch.randn(shape) for shape in SHAPES] for _ in range(2))
    shifted = [[x + 3 for x in logits] for logits in (real, fake)]
    for a, b in (
        (discriminator_loss(real, fake, "relativistic"), discriminator_loss(*shifted, "relativistic")),
        (generator_loss(fake, real, "relativistic"), generator_loss(*shifted[::-1], "relativistic")),
    ):
        assert a.item() == pytest.approx(b.item(), rel=1e-5)


@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_logits_are_summed_in_float32(loss: str, dtype: torch.dtype) -> None:
    # 300² is above float16's largest number.
    real, fake = constant(-300.0, dtype), [x.requires_grad_() for x in constant(300.0, dtype)]
    value = discriminator_loss(real, fake, loss)
    expected = {"lsgan": 301**2 + 300**2, "hinge": 301 + 301, "relativistic": 600}[loss]
    assert value.item() == pytest.approx(expected, rel=0.01)
    assert all(x.isfinite().all() for x in torch.autograd.grad(value + generator_loss(fake, real, loss), fake))


def features(scale: float = 1.0) -> list[list[Tensor]]:
    rng = torch.Generator().manual_seed(0)
    return [[scale * torch.randn(2, 3, 4, n, generator=rng) for n in sizes] for sizes in ((8, 4), (6, 5, 3))]


def test_feature_matching_of_equals_is_zero() -> None:
    assert feature_matching(preds=features(), target=features()).item() == 0


@pytest.mark.parametrize("gain", [0.0, 0.5, 3.0])
def test_feature_matching_of_a_gain(gain: float) -> None:
    # |g − 1|·m/(m + 1e-3) with m = mean |f|: layers, then resolutions, are averaged.
    target = features()
    levels = [[f.abs().mean().item() for f in layers] for layers in target]
    share = sum(sum(m / (m + 1e-3) for m in layers) / len(layers) for layers in levels) / len(levels)
    value = feature_matching(preds=[[gain * f for f in layers] for layers in target], target=target)
    assert value.item() == pytest.approx(abs(gain - 1) * share, rel=1e-5)


def test_feature_matching_does_not_depend_on_the_scale_of_features() -> None:
    # Beside the guard of 1e-3, which moves it by a per mille.
    a, b = features(), [[f.roll(1, 0) for f in layers] for layers in features()]
    small = feature_matching(preds=b, target=a).item()
    large = feature_matching(*([[100 * f for f in layers] for layers in x] for x in (b, a))).item()
    assert large == pytest.approx(small, rel=2e-3)


def test_silent_features_are_finite() -> None:
    preds = [[f.requires_grad_() for f in layers] for layers in features()]
    value = feature_matching(preds=preds, target=features(0.0))
    value.backward()
    assert value.isfinite() and all(f.grad.isfinite().all() for layers in preds for f in layers)


def test_real_features_are_detached() -> None:
    preds, target = features(2.0), features()
    for layers in (*preds, *target):
        for f in layers:
            f.requires_grad_()
    feature_matching(preds=preds, target=target).backward()
    assert all(f.grad is None for layers in target for f in layers)
    assert all(f.grad.abs().max() > 0 for layers in preds for f in layers)


def test_layers_must_pair_up() -> None:
    with pytest.raises(ValueError, match=r"argument 2 is (shorter|longer)"):
        feature_matching(preds=features()[:1], target=features())


# --- gradient norms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 2, 100), (3, 2, 64)])
def test_gradient_norms_closed_form(shape: tuple[int, ...]) -> None:
    batch, channels, time = shape
    target = torch.randn(shape)
    preds = (target + 1).requires_grad_()
    error = preds - target
    terms = {
        # Each of the n = batch·channels·time samples has a gradient of 1/n: norm 1/√n, times √(batch·time).
        "l1": error.abs().mean(),
        # 2e/n with e = 1.
        "l2": error.square().mean(),
        "scaled l1": 10 * error.abs().mean(),
        "sum": error.sum(),
        "constant": torch.tensor(3.0),
        "of another": torch.ones(1, requires_grad=True).sum(),
    }
    norms = gradient_norms(terms, preds)
    unit = 1 / math.sqrt(channels)
    expected = {
        "l1": unit,
        "l2": 2 * unit,
        "scaled l1": 10 * unit,
        "sum": math.sqrt(channels) * batch * time,
        "constant": 0.0,
        "of another": 0.0,
    }
    assert norms == pytest.approx(expected, rel=1e-5)
    # The graphs are kept, and nothing was accumulated.
    assert preds.grad is None
    terms["l1"].backward()
    assert preds.grad.abs().max() > 0


def test_gradient_norms_of_half_types() -> None:
    preds = torch.zeros(1, 2, 4096, dtype=torch.bfloat16, requires_grad=True)
    # 1/8192 squared, 8192 times: summed in float32.
    assert gradient_norms({"l1": (preds.float() - 1).abs().mean()}, preds)["l1"] == pytest.approx(2**-0.5, rel=1e-3)


# --- feature matching against autograd through the plain formula --------------------------------------------------


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
