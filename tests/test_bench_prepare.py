"""The benchmark of prepare-data runs end to end; no time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_prepare.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_synthesised_track(tmp_path):
    done = run("--track-seconds", 2, "--repeats", 2, "--json", tmp_path / "prepare.json")
    assert done.returncode == 0, done.stderr
    [(name, result)] = json.loads((tmp_path / "prepare.json").read_text(encoding="utf-8")).items()
    assert name == "synthesised.flac" and name in done.stdout
    seconds = result["processor_seconds"]
    assert len(seconds) == 2 and result["fastest_times_real_time"] == pytest.approx(2 / min(seconds))


def test_a_file_that_is_no_audio(tmp_path):
    (tmp_path / "a.wav").touch()
    done = run(tmp_path / "a.wav")
    assert done.returncode == 1 and done.stderr == f"error: {tmp_path / 'a.wav'}: the file is empty (0 bytes)\n"
