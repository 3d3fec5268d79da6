"""A picture of the top of an evaluation's page, as a browser shows it.

ear-sat evaluate --reference originals --estimate NAME=FOLDER … --out measured && python docs/figures/report.py measured
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from style import FOLDER

sys.path.insert(0, str(FOLDER.parents[1] / "scripts"))
from browser import Browser

WIDTH, HEIGHT, COLOURS = 1100, 700, 256


def main(evaluation: Path) -> None:
    """Writes report.png beside the scripts."""
    page = (evaluation / "report.html").resolve(strict=True)
    picture = FOLDER / "report.png"
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        browser.screen(WIDTH, HEIGHT, phone=False)
        browser.open(page)
        browser.screenshot(picture)
    page_picture = Image.open(picture).convert("RGB")
    top = page_picture.crop((0, 0, page_picture.width, HEIGHT))  # a scroll bar takes some of the width
    top.quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(picture)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: report.py EVALUATION")
    main(Path(sys.argv[1]))
