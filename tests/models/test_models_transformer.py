"""The RoPE transformer: relative positions, identity at the start, lengths and types."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ear_sat.errors import UserError
from ear_sat.models import Transformer
from ear_sat.models.transformer import LayerNorm, RotaryEmbedding


@pytest.mark.parametrize("dim_head", [32, 64])  # with 64, half the dimensions are left unrotated
@torch.no_grad()
def test_scores_depend_on_the_position_difference(dim_head: int) -> None:
    rotary, length = RotaryEmbedding(32), 200
    query, key = torch.randn(2, 1, 1, 1, dim_head).expand(2, 1, 1, length, dim_head)
    cos, sin = rotary(length)
    scores = (rotary.rotate(query, cos, sin) @ rotary.rotate(key, cos, sin).transpose(-1, -2))[0, 0]
    for distance in (-150, -7, 0, 1, 40):
        # The angles reach 200 rad, where float32 is exact to 1.5e-5; the scores are a few units.
        assert scores.diagonal(distance).std() <= 1e-4
    assert scores[0].std() > 0.1


@torch.no_grad()
def test_rotation_keeps_lengths_and_the_unrotated_part() -> None:
    rotary, x = RotaryEmbedding(32), torch.randn(2, 3, 50, 64)
    turned = rotary.rotate(x, *rotary(50))
    assert torch.equal(turned[..., 32:], x[..., 32:])
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)


@torch.no_grad()
def test_halves_convention_and_base() -> None:
    # Dimension i turns with dimension i + 16, by position · 10000^(−i/16).
    x = torch.zeros(1, 1, 6, 32)
    x[..., 3] = 1
    turned = (rotary := RotaryEmbedding(32)).rotate(x, *rotary(6))[0, 0, 5]
    angle = torch.tensor(5 * 10000 ** (-3 / 16))
    assert turned[3] == pytest.approx(angle.cos().item(), abs=1e-6)
    assert turned[19] == pytest.approx(angle.sin().item(), abs=1e-6)
    assert turned.count_nonzero() == 2


def test_rotary_counts_far_in_half_types() -> None:
    # bfloat16 cannot count past 256: neighbouring positions would share an angle.
    cos, _ = RotaryEmbedding(32).bfloat16()(3000)
    assert cos.dtype == torch.float32
    # inv_freq[0] is 1 in any type, so the first column is cos(position).
    assert torch.allclose(cos[:, 0], torch.arange(3000.0).cos(), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim_heads", [32, 64])
@torch.no_grad()
def test_identity_at_the_start(dtype: torch.dtype, dim_heads: int) -> None:
    latents = torch.randn(2, 64, 33, dtype=dtype)
    assert torch.equal(Transformer(64, depth=3, dim_heads=dim_heads).to(dtype)(latents), latents)


@torch.no_grad()
def test_trained_blocks_see_the_whole_sequence(randomize: Callable[..., nn.Module]) -> None:
    network = randomize(Transformer(64, depth=1))
    latents = torch.randn(1, 64, 20)
    changed = latents.clone()
    changed[..., 10] += 3 * torch.randn(64)
    moved = (network(changed) - network(latents)).abs().sum(1)[0]
    assert (moved > 1e-4).all() and moved.argmax() == 10


@torch.no_grad()
def test_order_matters(randomize: Callable[..., nn.Module]) -> None:
    # Without rotary positions, attention would commute with any reordering of the frames.
    network, latents = randomize(Transformer(64, depth=1)), torch.randn(1, 64, 20)
    order = torch.randperm(20)
    assert (network(latents[..., order]) - network(latents)[..., order]).abs().max() > 1e-3


@torch.no_grad()
def test_layer_norm_is_normal() -> None:
    norm, x = LayerNorm(64), 3 + 5 * torch.randn(4, 64)
    y: Tensor = norm(x)
    # Mean 0 and variance 1 but for eps = 1e-5 beside a variance of 25.
    assert y.mean(-1).abs().max() < 1e-5 and (y.var(-1, unbiased=False) - 1).abs().max() < 1e-4
    assert [name for name, _ in norm.named_parameters()] == ["gamma"]
    assert [name for name, _ in norm.named_buffers()] == ["beta"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dim": 64, "depth": 0}, "depth must be at least 1, not 0"),
        ({"dim": 64, "dim_heads": 16}, "dim_heads must be at least 32"),
        ({"dim": 48, "dim_heads": 32}, "divide latent_dim 48"),
    ],
)
def test_sizes_are_checked(kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Transformer(**kwargs)
