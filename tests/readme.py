"""The code blocks of README.md and of the pages in docs/."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).parents[1] / "README.md"
DOCS = README.parent / "docs"
#: A heading, or a fenced block, in which a line may begin like a heading.
PARTS = re.compile(
    r"^##? (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block; ``language`` is empty for commands of a shell."""

    section: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.splitlines()[0]

    def commands(self) -> list[list[str]]:
        """Words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path = README) -> list[Block]:
    """In the order of the page."""
    found, section = [], ""
    for part in PARTS.finditer(page.read_text(encoding="utf-8")):
        if part["heading"] is not None:
            section = part["heading"]
        else:
            found.append(Block(section, part["language"], part["text"]))
    return found
