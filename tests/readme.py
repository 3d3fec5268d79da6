"""The code blocks of README.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).parents[1] / "README.md"


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
    found = []
    for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        section = part.splitlines()[0]
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", part, flags=re.MULTILINE | re.DOTALL):
            found.append(Block(section, language, text))
    return found
