"""A picture of the top of an evaluation's page, as a browser shows it.

ear-sat evaluate --reference originals --estimate NAME=FOLDER … --out measured && python docs/figures/report.py measured
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from style import FOLDER

sys.path.insert(0, str(FOLDER.parents[1] / "scripts"))
from browser import NAMES, find_browser

WIDTH, HEIGHT, COLOURS = 1100, 700, 256


def main(evaluation: Path) -> None:
    """Writes report.png beside the scripts."""
    program = find_browser()
    if program is None:
        sys.exit(f"error: there is no Chromium; install one of {', '.join(NAMES)}")
    page = (evaluation / "report.html").resolve(strict=True)
    picture = FOLDER / "report.png"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
        ]
        command += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}", "--virtual-time-budget=5000"]
        subprocess.run([*command, page.as_uri()], check=True, capture_output=True)
    Image.open(picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(picture)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: report.py EVALUATION")
    main(Path(sys.argv[1]))
