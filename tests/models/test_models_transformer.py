"""The RoPE transformer: relative positions, identity at the start, lengths and types."""

import copy
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


HALF_TYPES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_angles_are_those_of_float32(dtype: torch.dtype) -> None:
    rotary, rounded = RotaryEmbedding(32), RotaryEmbedding(32).to(dtype)
    assert rounded.inv_freq.dtype == dtype
    back = RotaryEmbedding(32)
    back.load_state_dict(rounded.state_dict())  # as from a file that was saved in the half type
    for ours, exact in zip((*rounded(8000), *back(8000)), 2 * rotary(8000), strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, exact)
    with torch.autocast("cpu", dtype=dtype):
        assert all(torch.equal(*pair) for pair in zip(rotary(8000), rounded(8000), strict=True))


def test_the_key_of_the_frequencies_loads_and_saves_as_it_is() -> None:
    network, given = Transformer(64), torch.rand(16)
    state = {**network.state_dict(), "rotary_pos_emb.inv_freq": given}
    network.load_state_dict(state)
    assert network.state_dict().keys() == state.keys()
    assert torch.equal(network.state_dict()["rotary_pos_emb.inv_freq"], given)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@torch.no_grad()
def test_half_types_round_and_no_more(dtype: torch.dtype, randomize: Callable[..., nn.Module]) -> None:
    """A block over 8,000 frames, 3 minutes, against float32 with the same weights and input.

    Twelve results are rounded one after the other (norm, qkv, rotation, attention, projection, sum; norm, linear,
    gate, product, linear, sum), by half a unit in the last place at most: 12 of them if all errors had one sign. Here
    they are 2; with the frequencies rounded to the type 64 (bfloat16) and 320 (float16).
    """
    block = randomize(Transformer(64, depth=1))
    block.layers[0].self_attn.to_qkv.weight[:128] *= 2  # attention so sharp that it is a matter of position
    latents = torch.randn(1, 64, 8000).to(dtype)
    rounded = copy.deepcopy(block).to(dtype)
    exact_block = copy.deepcopy(rounded).float()
    exact_block.rotary_pos_emb = block.rotary_pos_emb
    exact = exact_block(latents.float())
    error = (rounded(latents) - exact).norm() / (exact - latents).norm()
    assert error < 12 * torch.finfo(dtype).eps / 2


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
        ({"dim": 64, "depth": 0}, "must be a whole number of at least 1, not 0"),
        ({"dim": 64, "dim_heads": 16}, "dim_heads must be at least 32"),
        ({"dim": 48, "dim_heads": 32}, "divide latent_dim 48"),
    ],
)
def test_sizes_are_checked(kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Transformer(**kwargs)
