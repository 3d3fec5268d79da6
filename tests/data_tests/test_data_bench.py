"""The part ``data`` of the benchmark runs end to end; no time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("stable_audio_tools")
pytest.importorskip("pytorch_lightning")

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench.py"


@pytest.mark.slow
def test_both_sides_read_both_formats(tmp_path):
    arguments = ["--only", "data", "--track-seconds", "3", "--repeats", "1", "--json", str(tmp_path / "bench.json")]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    for kind in ("flac", "mp3"):
        part = results[f"data {kind}"]
        for side in ("host", "ear"):
            times = part[side]["seconds"]
            assert len(times) == 3 and 0 < min(times) == part[side]["fastest_seconds"]
        assert part["median_speed_ratio"] == part["host"]["median_seconds"] / part["ear"]["median_seconds"]
        assert f"data {kind}" in done.stdout
