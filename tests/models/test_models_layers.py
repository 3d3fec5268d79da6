"""Weight norm, folding and the residual unit."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import weight_norm

from ear_sat.models import Decoder, Encoder, SnakeBeta, fold_weight_norm
from ear_sat.models.layers import ResidualUnit, WNConv1d, WNConv2d, WNConvTranspose1d

CASES: dict[str, tuple[type[nn.Module], type[nn.Module], tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = {
    "conv": (WNConv1d, nn.Conv1d, (3, 5, 7), {"padding": 9, "dilation": 3, "stride": 2}, (2, 3, 40)),
    "transposed": (WNConvTranspose1d, nn.ConvTranspose1d, (3, 5, 6), {"stride": 3, "padding": 2}, (2, 3, 40)),
    "same": (WNConv1d, nn.Conv1d, (3, 5, 6), {"padding": "same", "bias": False}, (2, 3, 40)),
    "two_d": (
        WNConv2d,
        nn.Conv2d,
        (3, 5, (3, 9)),
        {"stride": (1, 2), "dilation": (2, 1), "padding": 4},
        (2, 3, 20, 30),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_weight_norm_equals_torch(case: str, gradients: Callable[..., list[Tensor]]) -> None:
    ours, theirs, args, kwargs, shape = CASES[case]
    module, reference = ours(*args, **kwargs), weight_norm(theirs(*args, **kwargs))
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_()
    module.load_state_dict(reference.state_dict(), strict=True)  # the names and shapes are torch's as well
    x = torch.randn(shape)
    # The same operations on the same numbers.
    assert torch.equal(module(x), reference(x))
    names = [name for name, _ in module.named_parameters()]
    got = gradients(module(x), list(module.parameters()))
    wanted = gradients(reference(x), [reference.get_parameter(name) for name in names])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_starts_as_the_plain_convolution(case: str) -> None:
    ours, theirs, args, kwargs, shape = CASES[case]
    torch.manual_seed(1)
    module = ours(*args, **kwargs)
    torch.manual_seed(1)
    plain, x = theirs(*args, **kwargs), torch.randn(shape)
    # g·v/‖v‖ with g = ‖v‖: rounded twice.
    assert torch.allclose(module(x), plain(x), atol=1e-5)


def test_deep_copy_has_its_own_weights() -> None:
    conv, x = WNConv1d(2, 3, 3), torch.randn(1, 2, 10)
    before = conv(x)
    twin = copy.deepcopy(conv)
    with torch.no_grad():
        twin.weight_g.mul_(2)
        twin.bias.mul_(2)
    assert torch.equal(conv(x), before)
    assert torch.allclose(twin(x), 2 * before, atol=1e-6)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("antialias", [False, True])
@torch.no_grad()
def test_folding_keeps_the_output(nearest: bool, antialias: bool, randomize: Callable[..., nn.Module]) -> None:
    size = {"channels": 6, "c_mults": [1, 2], "strides": [3, 4], "antialias_activation": antialias}
    encoder = randomize(Encoder(latent_dim=8, **size))
    decoder = randomize(
        Decoder(latent_dim=64, use_nearest_upsample=nearest, transformer={"depth": 1}, bias=not nearest, **size)
    )
    for network, x in ((encoder, torch.randn(2, 2, 120)), (decoder, torch.randn(2, 64, 9))):
        before = network(x)
        assert fold_weight_norm(network) is network
        assert (network(x) - before).abs().max() <= 1e-5  # w = g·v/‖v‖ is the same number, computed once
        assert not [key for key in network.state_dict() if "weight_g" in key or "weight_v" in key]
        assert not [m for m in network.modules() if isinstance(m, WNConv1d | WNConvTranspose1d)]


def test_residual_unit_shares_its_activation(gradients: Callable[..., list[Tensor]]) -> None:
    unit = ResidualUnit(4, dilation=3, use_snake=True)
    assert {"layers.0.alpha", "layers.0.beta", "layers.2.alpha", "layers.2.beta"} <= unit.state_dict().keys()
    assert unit.layers[0] is unit.layers[2]
    snakes = [p for name, p in unit.named_parameters() if name.endswith(("alpha", "beta"))]
    assert len(snakes) == 2
    # The one gradient is the sum of what two separate activations with the same values would get.
    x = torch.randn(1, 4, 30)
    apart = copy.deepcopy(unit)
    apart.layers[2] = copy.deepcopy(apart.layers[0])
    (shared,) = gradients(unit(x), [unit.layers[0].alpha])
    first, second = gradients(apart(x), [apart.layers[0].alpha, apart.layers[2].alpha])
    assert torch.allclose(shared, first + second, atol=1e-5)


def test_sharing_survives_a_deep_copy() -> None:
    unit = copy.deepcopy(ResidualUnit(4, dilation=1, use_snake=True))
    assert unit.layers[0] is unit.layers[2] and isinstance(unit.layers[0], SnakeBeta)


@torch.no_grad()
def test_residual_unit_adds_to_its_input() -> None:
    unit, x = ResidualUnit(4, dilation=9, use_snake=True), torch.randn(2, 4, 50)
    unit.layers[3].weight_g.zero_()
    unit.layers[3].bias.zero_()
    assert torch.equal(unit(x), x)


@pytest.mark.parametrize("dilation", [1, 3, 9])
@torch.no_grad()
def test_residual_unit_reaches_three_dilated_taps(dilation: int) -> None:
    unit, x = ResidualUnit(2, dilation, use_snake=False), torch.zeros(1, 2, 101)
    changed = x.clone()
    changed[..., 50] = 1
    touched = (unit(changed) - unit(x)).abs().sum(1)[0].nonzero().flatten() - 50
    assert set(touched.tolist()) == {k * dilation for k in range(-3, 4)}
