"""Shared helpers of the file tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def names():
    """Names of all files in a folder, hidden ones too."""

    def listing(folder: Path) -> list[str]:
        return sorted(file.name for file in folder.iterdir())

    return listing
