"""Levels of spectra over bins and frames, and the least level that an error is divided by."""

from __future__ import annotations

import torch
from torch import Tensor

#: The guard, relative to the loudest channel of the same clip and resolution (−20 dB). Ours: without it a Side 60 dB
#: down costs a few hundred times as much as the rest, and a silent one explodes.
RELATIVE_GUARD = 0.1
#: The guard in absolute terms: root mean square over bins, −60 dBFS. Ours: a clip that is all but silent, such as the
#: end of a fade, would otherwise cost as much as a hundred loud ones.
ABSOLUTE_GUARD = 1e-3


def root_mean_square(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """√(mean w·|v|²) over bins and frames, its gradient 0 where all is 0. ``weight``: (bins, 1), of mean 1."""
    n = values.shape[-2] * values.shape[-1]
    if values.is_complex():  # torch's norm of complex numbers takes 28 times as long as that of their parts
        values = torch.view_as_real(values).flatten(-2)
    weighted = values if weight is None else values * weight.sqrt()
    return torch.linalg.vector_norm(weighted, dim=(-2, -1)) / n**0.5


def spread(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Standard deviation over bins and frames, √(mean w·(v − mean w·v)²).

    >>> spread(torch.tensor([[1.0, 3.0], [1.0, 3.0]])).item()
    1.0
    """
    mean = (values if weight is None else values * weight).mean(dim=(-2, -1), keepdim=True)
    return root_mean_square(values - mean, weight)


def guard(channels: Tensor) -> Tensor:
    """The least level of a clip's components, (batch, 1), from the levels of its channels, (batch, channels).

    >>> guard(torch.tensor([[0.5, 0.2], [0.0, 0.0]])).flatten().tolist()
    [0.05..., 0.001...]
    """
    return (RELATIVE_GUARD * channels.amax(dim=1, keepdim=True)).clamp_min(ABSOLUTE_GUARD)
