"""The two kinds of blind test, and what each can take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..config import check_choice
from ..errors import UserError
from .anchors import EDGES_HZ

REFERENCE = "reference"
MOST_VERSIONS = 12
"""Of one excerpt in a MUSHRA trial, hidden reference and anchors among them (BS.1534)."""


@dataclass(frozen=True)
class Method:
    """A kind of test.

    Attributes:
        title: heading of its page.
        anchors: whether the reference's low-pass versions are among what is heard.
        clips: how many excerpts a test has if nobody says.
        trials: whether each pair is heard in a number of trials.
    """

    title: str
    anchors: bool
    clips: int
    trials: bool


METHODS = {
    "mushra": Method("Listening test", anchors=True, clips=8, trials=False),
    "abx": Method("Listening test: ABX", anchors=False, clips=2, trials=True),
}


def check_systems(method: str, systems: Collection[str]) -> None:
    """Raises :class:`UserError` where ``method`` cannot test these systems, or there is no such method."""
    check_choice("listening test", method, METHODS)
    for name in systems:
        if name in EDGES_HZ:
            raise UserError(f"'{name}' is the name of an anchor and cannot name a system; choose another name")
    most = MOST_VERSIONS - 1 - len(EDGES_HZ)
    if METHODS[method].anchors and len(systems) > most:
        raise UserError(f"a MUSHRA test takes up to {most} systems, not {len(systems)}; give fewer --estimate")
