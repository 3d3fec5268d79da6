"""What to do where stable-audio-tools, or what comes with it, is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import UserError

OVERRIDES = Path(__file__).parent / "pins" / "0.0.20-overrides.txt"


def not_installed(package: str) -> UserError:
    """The error for a missing package, with the command that installs it into this environment.

    pip obeys the host's own pins, which have no builds for Python 3.12 and later; uv takes other versions instead.
    """
    command = 'pip install "ear-sat[sat]"'
    if sys.version_info >= (3, 12):
        command = f'uv pip install --python "{sys.executable}" --overrides "{OVERRIDES}" "ear-sat[sat]"'
    return UserError(f"{package} is not installed; run: {command}")
