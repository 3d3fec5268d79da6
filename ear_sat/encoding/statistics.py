"""Statistics of latents, accumulated frame by frame in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models.bottleneck import VARIANCE_EPSILON


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of each channel, over the frames seen.

    Chunks are merged by the update of Chan, Golub & LeVeque ("Updating formulae and a pairwise algorithm for computing
    sample variances", 1979), which loses nothing where the mean is large against the deviation.

    >>> moments = Moments(1)
    >>> moments.update(torch.tensor([[1.0, 2.0]]))
    >>> moments.update(torch.tensor([[6.0]]))
    >>> moments.mean.tolist(), moments.variance.round(4).tolist()
    ([3.0], [4.6667])
    """

    channels: int
    count: int = 0

    def __post_init__(self) -> None:
        self.mean = np.zeros(self.channels)
        self.squares = np.zeros(self.channels)

    def update(self, values: Tensor) -> None:
        """Adds ``values`` (channels, frames)."""
        if values.shape[-1] == 0:
            return
        chunk = values.double().cpu().numpy()
        other = Moments(self.channels, chunk.shape[-1])
        other.mean = chunk.mean(axis=1)
        other.squares = np.square(chunk - other.mean[:, None]).sum(axis=1)
        self.merge(other)

    def merge(self, other: Moments) -> None:
        """Adds the frames of ``other``."""
        total = self.count + other.count
        if total == 0:
            return
        shift = other.mean - self.mean
        self.mean = self.mean + shift * (other.count / total)
        self.squares = self.squares + other.squares + np.square(shift) * (self.count * other.count / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """Per channel, of the frames themselves (divided by their number); NaN without frames."""
        return self.squares / self.count if self.count else np.full(self.channels, np.nan)

    def overall(self) -> tuple[float, float]:
        """Mean and standard deviation of all values of all channels."""
        mean = float(self.mean.mean())
        return mean, float(np.sqrt((self.variance + np.square(self.mean - mean)).mean()))


def kl_per_channel(mean: Tensor, std: Tensor) -> Tensor:
    """mean² + var − ln var − 1 with var = std² + 1e-6, whose sum over channels, averaged over frames, is the KL term.

    ``mean``, ``std`` and the result are (channels, frames); float64. Latents that are no draw, of ``std`` 0 everywhere,
    have no KL: NaN.
    """
    mean, variance = mean.double(), std.double().square() + VARIANCE_EPSILON
    kl = mean.square() + variance - torch.log(variance) - 1
    return kl if std.any() else torch.full_like(kl, torch.nan)
