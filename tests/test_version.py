"""The version stands in ear_sat/__init__.py; what repeats it agrees."""

from __future__ import annotations

import re
from pathlib import Path

from ear_sat import __version__

ROOT = Path(__file__).parents[1]


def test_the_citation_has_the_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", text, flags=re.MULTILINE) == [__version__]


def test_the_project_reads_it_from_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'version = { attr = "ear_sat.__version__" }' in text and not re.search(r'^version = "', text, re.MULTILINE)
