"""How ``--help`` looks: paragraphs are filled, and lines to copy stay as they are."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

INDENT = "  "


class Formatter(argparse.HelpFormatter):
    """Fills each paragraph by itself; one that is indented is left as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = [
            part if part.startswith(INDENT) else super(Formatter, self)._fill_text(part, width, indent)
            for part in text.split("\n\n")
        ]
        return "\n\n".join(paragraphs)


def to_copy(title: str, lines: Iterable[str]) -> str:
    """A heading, and lines to copy below it.

    >>> to_copy("example:", ["ear-sat doctor"])
    'example:\\n\\n  ear-sat doctor'
    """
    return f"{title}\n\n" + "\n".join(INDENT + line for line in lines)
