"""The benchmark script runs end to end and writes what it measured; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("stable_audio_tools")
pytest.importorskip("pytorch_lightning")

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_both_sides_of_both_benchmarks_are_measured(tmp_path):
    file = tmp_path / "bench.json"
    sizes = ("--channels", 4, "--filters", 4, "--batch", 1, "--samples", 8192, "--track-seconds", 2)
    done = run(*sizes, "--repeats", 1, "--threads", 1, "--json", file)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())

    step, losses = results["step"], results["losses"]
    assert step["host"]["discriminator_parameters"] == step["ear"]["discriminator_parameters"]
    # Ours shares one activation within a residual unit, so it is a little smaller.
    assert 0.98 < step["ear"]["parameters"] / step["host"]["parameters"] < 1
    for benchmark in (step, losses):
        for side in ("host", "ear"):
            samples = benchmark[side]["seconds"]
            assert len(samples) >= 2 and min(samples) > 0
            assert (
                min(samples) == benchmark[side]["fastest_seconds"] <= benchmark[side]["median_seconds"] <= max(samples)
            )
        for key in ("median", "fastest"):
            ratio = benchmark["host"][f"{key}_seconds"] / benchmark["ear"][f"{key}_seconds"]
            assert benchmark[f"{key}_speed_ratio"] == pytest.approx(ratio)
    for side in ("host", "ear"):
        above, absolute = step[side]["peak_memory_mib"], step[side]["peak_memory_absolute_mib"]
        assert len(above) == len(absolute) == 1 and 0 < above[0] < absolute[0]
    assert results["machine"]["threads"] == 1 and results["settings"]["samples"] == 8192
    assert "step" in done.stdout and "losses" in done.stdout and results["machine"]["torch"] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "stepp"), "did you mean 'step'"),
        (("--samples", 3000), "multiple of 1024"),
        (("--repeats", 0), "--repeats must be 1 or more"),
        (("--json", "/no/such/folder/b.json"), "create it"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_to_do(arguments, words):
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and words in done.stderr and "Traceback" not in done.stderr
