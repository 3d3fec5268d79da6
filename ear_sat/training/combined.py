"""Several discriminators as one: type ``combined`` of ``loss_configs.discriminator``.

A round takes its members one after the other (see :mod:`.round`), so that only one of them needs memory for its graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from ..models.discriminator import AdversarialLosses
from .players import Discriminator


class Member(NamedTuple):
    """One discriminator of several.

    name: of its values in logs, as ``dac/``; empty for a discriminator by itself.
    weight: of its three losses.
    """

    name: str
    weight: float
    discriminator: Discriminator


class CombinedDiscriminator(nn.Module):
    """Its losses are the sums of its members' with their weights."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members = tuple(members)
        self.discriminators = nn.ModuleList(cast("nn.Module", member.discriminator) for member in members)

    def loss(self, reals: Tensor, fakes: Tensor) -> AdversarialLosses:
        """Of all members at once, for audio (batch, channels, time), as the host's wrapper asks for them."""
        losses = [(member.weight, member.discriminator.loss(reals=reals, fakes=fakes)) for member in self.members]
        first, second, third = (sum((w * of[i] for w, of in losses), reals.new_zeros(())) for i in range(3))
        return AdversarialLosses(first, second, third)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Each member by itself: nobody calls them together."""
        for discriminator in self.discriminators:
            discriminator.compile(*args, **kwargs)  # type: ignore[no-untyped-call]


def members_of(discriminator: Discriminator) -> Sequence[Member]:
    """The members of a combined discriminator; one that stands by itself is its own."""
    return (
        discriminator.members if isinstance(discriminator, CombinedDiscriminator) else [Member("", 1.0, discriminator)]
    )


def named_members(parts: Sequence[tuple[str, float, Discriminator]]) -> list[Member]:
    """Members of (type, weight, discriminator), named by their types, which are numbered where they stand twice.

    >>> [member.name for member in named_members([("dac", 1.0, None), ("hil", 1.0, None), ("dac", 1.0, None)])]
    ['dac/', 'hil/', 'dac_2/']
    """
    kinds = [kind for kind, _, _ in parts]
    members = []
    for i, (kind, weight, discriminator) in enumerate(parts):
        nth = kinds[: i + 1].count(kind)
        members.append(Member(f"{kind}/" if nth == 1 else f"{kind}_{nth}/", weight, discriminator))
    return members
