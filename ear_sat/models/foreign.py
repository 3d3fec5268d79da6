"""A network that is not ours as a layer of an encoder or decoder of ours, which computes it in chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .receptive_field import Reach, context_frames

if TYPE_CHECKING:
    from .autoencoder import Autoencoder


class Foreign(nn.Module):
    """A layer of any kind, with how far its outputs reach.

    Args:
        name: of the layer, for messages.
        compute: what it does: (batch, channels, time) → (batch, channels, time).
        modules: those whose parameters it has.
        reaches: of its outputs into its input.
        exact: nothing beyond them has an influence.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[Tensor], Tensor],
        modules: list[nn.Module],
        reaches: list[Reach],
        exact: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.compute, self.reaches, self.exact = name, compute, reaches, exact
        self.parts = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x)


def foreign_layers(model: Autoencoder) -> list[Foreign]:
    """Those of both networks, in the order of the signal."""
    return [layer for part in (model.encoder, model.decoder) for layer in part.layers if isinstance(layer, Foreign)]


def chunks_in_words(model: Autoencoder) -> str:
    """With how much context chunks of audio are computed, and whether that is all that matters."""
    (before, after), (earlier, later) = context_frames(model.encoder), context_frames(model.decoder)
    beyond = [layer.name for layer in foreign_layers(model) if not layer.exact]
    exact = f"approximate, since {' and '.join(beyond)} see further" if beyond else "exact"
    context = f"{before} + {after} latent frames of context to encode, {earlier} + {later} to decode"
    return f"{exact}: {context}" + ("; the transformer sees everything" if model.decoder.transformers else "")
