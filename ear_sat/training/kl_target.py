"""A weight of the KL term that brings the latents to a given information, whatever the rest of the losses weighs."""

from __future__ import annotations

import math

#: How far ln(weight) moves in a round where the KL term is e times its target, and at most: the weight can double in 70
#: rounds. Slower than the network answers, at usual rates; a faster one swings about the target. Ours, see the tests.
RATE = 0.01
#: The weight stays within this factor of the one it began with: what cannot be reached does not run away.
SPAN = 1e6


class KLTarget:
    """Adapts the weight of ``kl`` round by round.

    Args:
        target: nats per latent value.
        latent_dim: channels of the latents.
        weight: where it begins.

    >>> kl = KLTarget(target=0.5, latent_dim=64, weight=1e-4)
    >>> kl.update(2 * 64 * 0.5)  # on target
    >>> kl.weight
    0.0001
    >>> kl.update(1e4)  # far above it
    >>> round(kl.weight / 1e-4, 4)
    1.0101
    """

    def __init__(self, target: float, latent_dim: int, weight: float) -> None:
        self.target, self.latent_dim, self.weight = target, latent_dim, weight
        self._bounds = weight / SPAN, weight * SPAN

    def update(self, kl: float) -> None:
        """Raises the weight where ``kl``, the bottleneck's own figure, is above the target, and lowers it below.

        The figure is twice the divergence, summed over channels: see :func:`ear_sat.models.kl_divergence`.
        """
        nats = kl / (2 * self.latent_dim)
        error = math.log(nats / self.target) if nats > 0 else -1.0
        low, high = self._bounds
        self.weight = min(max(self.weight * math.exp(RATE * min(max(error, -1.0), 1.0)), low), high)
