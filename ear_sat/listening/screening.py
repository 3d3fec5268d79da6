"""Post-screening of listeners as BS.1534-3 has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .anchors import MID
from .answers import Rating
from .methods import REFERENCE

LIMIT = 90.0
MOST = 0.15
"""Share of the items."""


@dataclass(frozen=True)
class Screening:
    """How a listener did with what everybody should hear.

    Attributes:
        items: clips that were rated.
        reference_below: in how many the hidden reference was rated below 90.
        mid_anchor_above: in how many the 7 kHz anchor was rated above 90.
    """

    items: int
    reference_below: int
    mid_anchor_above: int

    @property
    def excluded(self) -> bool:
        """The hidden reference was missed too often."""
        return self.reference_below > MOST * self.items

    @property
    def flagged(self) -> bool:
        """The mid anchor was taken for excellent too often. It is told, and excludes nobody: where others do so too,
        the music has little above 7 kHz.
        """
        return self.mid_anchor_above > MOST * self.items


def screen(ratings: Iterable[Rating]) -> Screening:
    """Screens one listener.

    >>> screen([Rating("a", "reference", 100), Rating("b", "reference", 80), Rating("b", "anchor 7 kHz", 91)])
    Screening(items=2, reference_below=1, mid_anchor_above=1)
    """
    ratings = list(ratings)
    return Screening(
        len({rating.clip for rating in ratings}),
        sum(rating.version == REFERENCE and rating.score < LIMIT for rating in ratings),
        sum(rating.version == MID and rating.score > LIMIT for rating in ratings),
    )
