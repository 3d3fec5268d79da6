"""Both blind pages in a browser, from the first click to the table of results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ear_sat.cli.main import main

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from browser import find_browser  # noqa: E402


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="needs Chromium, which nothing else does")
def test_a_listener_goes_through_both_pages(tmp_path, noise, write):
    music = noise(0, 4.0)
    write(tmp_path / "ref" / "song.wav", music)
    write(tmp_path / "codec" / "song.wav", music + 0.1 * noise(1, 4.0))
    given = ["--reference", str(tmp_path / "ref"), "--estimate", f"system={tmp_path / 'codec'}", "--processes", "1"]
    for method in (["mushra"], ["abx", "--trials", "4"]):
        assert main(["evaluate", *given, "--out", str(tmp_path / "pages"), "--blind", *method]) == 0
    pages = [str(tmp_path / "pages" / f"{method}.html") for method in ("mushra", "abx")]
    seen = tmp_path / "seen"
    command = [sys.executable, str(SCRIPTS / "blind_page.py"), *pages, "--out", str(seen), "--listener", "Zoë"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for method in ("mushra", "abx"):
        (answers,) = seen.glob(f"listening-{method}-*.json")
        out = tmp_path / method
        assert main(["listening-results", str(answers), "--out", str(out)]) == 0
        data = json.loads((out / "listening.json").read_text(encoding="utf-8"))
        assert data["listeners"] == ["Zoë"]
        if method == "mushra":
            rows = {row["version"]: row["mean"] for row in data["tables"]["Scores"]["rows"]}
            assert rows["reference"] >= 99 and rows["system"] == pytest.approx(70, abs=2)
            assert rows["anchor 3.5 kHz"] == pytest.approx(10, abs=2)
        else:
            (row,) = data["tables"]["Systems"]["rows"]
            assert (row["system"], row["correct"], row["trials"]) == ("system", 4, 4)
