"""Functions of the host's that are replaced, once, by ones that call them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

#: Attribute that marks a replacement and keeps the host's own.
ORIGINAL = "_ear_sat_original"


def wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """``owner.name`` becomes ``make(owner.name)``, unless it is a replacement already.

    Args:
        owner: class or module.
        name: of the function.
        make: called with the host's.
    """
    original = getattr(owner, name)
    if not hasattr(original, ORIGINAL):
        replacement = functools.wraps(original)(make(original))
        setattr(replacement, ORIGINAL, original)
        setattr(owner, name, replacement)
