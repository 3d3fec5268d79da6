"""SnakeBeta: the fused form against the plain one, in value, gradient, type and memory of the graph."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from ear_sat.compiling import can_compile
from ear_sat.models import SnakeBeta, snake, snake_beta
from ear_sat.models.snake import snake_beta_reference


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """x (3, 5, 40), alpha and beta (5,), all leaves; e^α from about 0.4 to 2.7 and beyond."""
    return torch.randn(3, 5, 40).requires_grad_(), torch.randn(5).requires_grad_(), torch.randn(5).requires_grad_()


def test_fused_equals_reference(inputs: tuple[Tensor, ...], gradients: Callable[..., list[Tensor]]) -> None:
    fused, plain = snake_beta(*inputs), snake_beta_reference(*inputs)
    # 1e-6 of the largest value: eight float32 roundings; the sums over 120 elements add in another order.
    assert (fused - plain).abs().max() <= 1e-6 * plain.abs().max()
    for ours, theirs in zip(gradients(fused, list(inputs)), gradients(plain, list(inputs)), strict=True):
        assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def test_gradcheck() -> None:
    leaves = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in ((2, 3, 7), (3,), (3,))]
    assert gradcheck(snake_beta, leaves)


def test_gradients_where_the_guard_of_beta_matters(gradients: Callable[..., list[Tensor]]) -> None:
    # e^−20.7 is about the 1e-9 that keeps 1/β finite; a hundred times less, it takes over.
    beta = torch.tensor([-20.7, -25.0], dtype=torch.float64).requires_grad_()
    leaves = [torch.randn(2, 2, 9, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    (ours,), (theirs,) = (gradients(f(*leaves, beta), [beta]) for f in (snake_beta, snake_beta_reference))
    assert torch.allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_each_gradient_alone(
    wanted: tuple[bool, ...], inputs: tuple[Tensor, ...], gradients: Callable[..., list[Tensor]]
) -> None:
    leaves = [x.detach().requires_grad_(need) for x, need in zip(inputs, wanted, strict=True)]
    needed = [x for x in leaves if x.requires_grad]
    (ours,), (theirs,) = (gradients(f(*leaves), needed) for f in (snake_beta, snake_beta_reference))
    assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grad", [True, False])
def test_half_types_are_evaluated_in_float32(dtype: torch.dtype, grad: bool, inputs: tuple[Tensor, ...]) -> None:
    x, alpha, beta = inputs
    half = x.detach().to(dtype).requires_grad_(grad)
    with torch.set_grad_enabled(grad):
        y = snake_beta(half, alpha, beta)
    assert y.dtype == dtype
    # Exactly the float32 value, rounded once.
    assert torch.equal(y, snake_beta(half.float(), alpha, beta).to(dtype))
    if grad:
        y.float().sum().backward()
        assert half.grad.dtype == dtype
        assert alpha.grad.dtype == beta.grad.dtype == torch.float32


def test_no_grad_path_is_the_same(inputs: tuple[Tensor, ...]) -> None:
    expected, before = snake_beta(*inputs), inputs[0].detach().clone()
    with torch.no_grad():
        silent = snake_beta(*inputs)
    assert torch.equal(silent, expected) and not silent.requires_grad
    assert torch.equal(inputs[0], before)  # the in-place steps work on a copy


def test_odd_multiples_of_the_quarter_period_are_peaks() -> None:
    # α = e^0.5, β = e^-1: at αx = (n + ½)π the sine is ±1, so that the function is x + 1/β; at αx = nπ it is x.
    alpha, beta = torch.tensor([0.5]), torch.tensor([-1.0])
    n = torch.arange(-4.0, 5.0).view(1, 1, -1)
    zeros, peaks = n * torch.pi / alpha.exp(), (n + 0.5) * torch.pi / alpha.exp()
    assert torch.allclose(snake_beta(zeros, alpha, beta), zeros, atol=1e-6)
    assert torch.allclose(snake_beta(peaks, alpha, beta), peaks + beta.neg().exp(), atol=1e-5)


def test_deep_copy_is_independent() -> None:
    module = SnakeBeta(3)
    module(torch.randn(1, 3, 8)).sum().backward()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.alpha.fill_(1)
    x = torch.randn(1, 3, 8)
    assert torch.equal(module(x), snake_beta(x, torch.zeros(3), torch.zeros(3)))
    assert torch.equal(twin(x), snake_beta(x, torch.ones(3), torch.zeros(3)))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("block", [1, 37, 100])
def test_blocks_make_no_difference(
    channels_last: bool,
    block: int,
    inputs: tuple[Tensor, ...],
    gradients: Callable[..., list[Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, alpha, beta = inputs
    if channels_last:
        x = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    whole = snake_beta(x, alpha, beta)
    expected = gradients(whole, [x, alpha, beta])
    monkeypatch.setattr(snake, "BLOCK", block)
    result = snake_beta(x, alpha, beta)
    assert torch.equal(result, whole) and result.stride() == x.stride()
    for ours, theirs in zip(gradients(result, [x, alpha, beta]), expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_place(dtype: torch.dtype, inputs: tuple[Tensor, ...]) -> None:
    x, alpha, beta = (t.detach() for t in inputs)
    x = x.to(dtype)
    expected = snake_beta(x, alpha, beta)
    result = snake.periodic(x, *snake.constants(alpha, beta, dtype), inplace=True)
    assert result is x and torch.equal(x, expected)


def test_compiled_formulas_are_the_same(inputs: tuple[Tensor, ...]) -> None:
    # What runs on a GPU, compiled for the CPU.
    if not can_compile("cpu"):
        pytest.skip("torch.compile needs a C++ compiler")
    x, alpha, beta = (t.detach() for t in inputs)
    frequency, height = snake.constants(alpha, beta, x.dtype)
    grad = torch.randn_like(x)
    value = torch.compile(snake._value, dynamic=True)(x, frequency, height)
    assert torch.allclose(value, snake.periodic(x, frequency, height), rtol=1e-6, atol=1e-6)
    compiled = torch.compile(snake._gradients, dynamic=True)(grad, x, frequency, height)
    for ours, theirs in zip(compiled, snake._blockwise_gradients(grad, x, frequency, height), strict=True):
        assert (ours - theirs).abs().max() <= 2e-6 * theirs.abs().max()
