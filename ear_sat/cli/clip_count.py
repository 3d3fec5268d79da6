"""``--audio N|all|none``."""

from __future__ import annotations

from ..errors import UserError


def clip_count(text: str, what: str) -> int | None:
    """How many of ``what`` can be listened to; None for all.

    >>> clip_count("all", "clips"), clip_count("none", "clips"), clip_count("3", "clips")
    (None, 0, 3)

    Raises:
        UserError: ``text`` is none of these.
    """
    if text in ("all", "none"):
        return None if text == "all" else 0
    if not text.isdecimal():
        raise UserError(f"--audio takes a number of {what}, all, or none, not {text}")
    return int(text)
