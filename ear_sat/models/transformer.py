"""The RoPE transformer of the decoding path, release-exact (the continuous transformer of stable-audio-tools)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import require_whole
from ..errors import UserError
from ..value_types import Size

#: Smallest number of rotated dimensions per head, and the base of the rotary frequencies; both the release's.
MIN_ROTARY_DIMS = 32
ROTARY_BASE = 10000.0


class LayerNorm(nn.Module):
    """Layer norm with a learned gain ``gamma`` and a zero shift kept as the buffer ``beta``."""

    beta: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.gamma.shape, weight=self.gamma, bias=self.beta)


def rotary_frequencies(dims: int, device: torch.device | None = None) -> Tensor:
    """Radians per position of each pair of ``dims`` rotated dimensions, float32 (dims / 2,)."""
    return ROTARY_BASE ** -(torch.arange(0, dims, 2, device=device, dtype=torch.float32) / dims)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding (Su et al., 2021) over the first ``dims`` of each head, halves convention.

    The buffer ``inv_freq`` is there for the release's keys; nothing is computed from it. ``.half()`` rounds it to 11
    bits and ``.bfloat16()`` to 8, with which position 8,000 would be off by radians.
    """

    inv_freq: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims
        self.register_buffer("inv_freq", rotary_frequencies(dims))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the angles, (length, dims) each, in float32 whatever the module's type."""
        device = self.inv_freq.device
        position = torch.arange(length, device=device, dtype=torch.float32)
        angle = torch.outer(position, rotary_frequencies(self.dims, device)).repeat(1, 2)
        return angle.cos(), angle.sin()

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotates (batch, heads, length, dim_head) by the angles from :meth:`forward`."""
        turned, kept = x[..., : self.dims].float(), x[..., self.dims :]
        low, high = turned.chunk(2, dim=-1)
        turned = turned * cos + torch.cat((-high, low), dim=-1) * sin
        return torch.cat((turned.to(x.dtype), kept), dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention, fused qkv, no bias; the output projection starts at zero."""

    def __init__(self, dim: int, dim_heads: int) -> None:
        super().__init__()
        self.heads = dim // dim_heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.to_out.weight)

    def forward(self, x: Tensor, rotary: RotaryEmbedding, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.to_qkv(x).chunk(3, dim=-1))
        q, k = rotary.rotate(q, cos, sin), rotary.rotate(k, cos, sin)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """Linear to twice the width, one half gated by the SiLU of the other (Shazeer, 2020)."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.silu(gate)


class FeedForward(nn.Module):
    """SwiGLU of four times the width, then a linear layer that starts at zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Position 1 is an identity so that the keys are the release's: ff.0.proj and ff.2.
        out = nn.Linear(4 * dim, dim)
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        self.ff = nn.Sequential(SwiGLU(dim, 4 * dim), nn.Identity(), out)

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class TransformerBlock(nn.Module):
    """x + attn(LN(x)), then x + ff(LN(x))."""

    def __init__(self, dim: int, dim_heads: int) -> None:
        super().__init__()
        self.pre_norm = LayerNorm(dim)
        self.self_attn = Attention(dim, dim_heads)
        self.ff_norm = LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: Tensor, rotary: RotaryEmbedding, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.pre_norm(x), rotary, cos, sin)
        return x + self.ff(self.ff_norm(x))


class Transformer(nn.Module):
    """A stack of pre-norm blocks over the latent sequence; the identity until it is trained.

    Args:
        dim: latent channels.
        depth: number of blocks.
        dim_heads: channels per head, at least 32; divides ``dim``.

    Shapes: (batch, dim, frames) → the same.

    >>> latents = torch.randn(1, 64, 7)
    >>> bool((Transformer(64)(latents) == latents).all())
    True
    """

    def __init__(self, dim: int, depth: Size = 2, dim_heads: Size = 32) -> None:
        super().__init__()
        require_whole("transformer depth (leave the transformer out for none)", depth, at_least=1)
        if dim_heads < MIN_ROTARY_DIMS or dim % dim_heads:
            raise UserError(
                f"dim_heads must be at least {MIN_ROTARY_DIMS} and divide latent_dim {dim}; got {dim_heads}"
            )
        self.rotary_pos_emb = RotaryEmbedding(max(dim_heads // 2, MIN_ROTARY_DIMS))
        self.layers = nn.ModuleList(TransformerBlock(dim, dim_heads) for _ in range(depth))

    def forward(self, z: Tensor) -> Tensor:
        x = z.transpose(1, 2)
        cos, sin = self.rotary_pos_emb(x.shape[1])
        for layer in self.layers:
            x = layer(x, self.rotary_pos_emb, cos, sin)
        return x.transpose(1, 2)
