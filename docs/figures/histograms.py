"""Distributions of a collection as `ear-sat prepare-data` draws them: ``python docs/figures/histograms.py MUSIC…``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from style import FOLDER

from ear_sat.cli.main import main as ear_sat


def main(music: list[str]) -> None:
    """Measures the folders and keeps the picture."""
    if not music:
        sys.exit("error: name the folders of music to measure")
    with tempfile.TemporaryDirectory() as folder:
        status = ear_sat(["prepare-data", *music, "--out", folder])
        if status == 0:
            shutil.copy(Path(folder, "histograms.png"), FOLDER / "histograms.png")
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
