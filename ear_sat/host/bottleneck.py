"""The host's bottlenecks as ours: latents by their mean and deviation, so that no draw is made unasked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..models import Bottleneck, Codebooks, VAEBottleneck, kl_divergence

#: What the host's "vae" adds to the deviation.
_DEVIATION_EPSILON = 1e-4


class HostBottleneck(Bottleneck):
    """:class:`ear_sat.models.Bottleneck` of the host's.

    Args:
        bottleneck: the host's, in eval mode; None for a model that has none.

    ``std`` is 0 where the latents are no draw, and there is no ``kl`` then.
    """

    def __init__(self, bottleneck: nn.Module | None) -> None:
        super().__init__()
        from stable_audio_tools.models import bottleneck as types

        self.host: Any = bottleneck
        self.draws = isinstance(bottleneck, types.VAEBottleneck)
        if isinstance(bottleneck, types.DiscreteBottleneck):
            self.codebooks = Codebooks(bottleneck.num_quantizers, int(bottleneck.codebook_size))

    def encode(self, x: Tensor, return_info: bool = False, **kwargs: Any) -> Any:
        info: dict[str, Tensor] = {}
        if self.draws:
            mean, scale = x.chunk(2, dim=1)
            std = F.softplus(scale) + _DEVIATION_EPSILON
            info["kl"] = kl_divergence(mean, std)
        else:
            mean = x if self.host is None else self.host.encode(x, **kwargs)
            std = torch.zeros_like(mean)
        return (mean, {**info, "mean": mean, "std": std}) if return_info else mean

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = latents if self.host is None else self.host.decode(latents)
        return decoded


def adapted_bottleneck(bottleneck: nn.Module | None) -> Bottleneck:
    """A bottleneck of the host's, or ours as it is.

    Raises:
        UserError: the host's own code draws before it quantises, so that its latents are never the same twice.
    """
    from stable_audio_tools.models import bottleneck as types

    if isinstance(bottleneck, VAEBottleneck):
        return bottleneck
    if isinstance(bottleneck, types.RVQVAEBottleneck | types.DACRVQVAEBottleneck):
        raise UserError(
            f"the host's {type(bottleneck).__name__} quantises a random draw, so its latents are other ones each time; "
            "use it with the host's own scripts"
        )
    return HostBottleneck(bottleneck)
