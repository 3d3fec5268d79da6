"""The benchmark script runs end to end and writes what it measured; no time is asserted."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ear_sat.cli import errors

pytest.importorskip("stable_audio_tools")
pytest.importorskip("pytorch_lightning")

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


#: As small as it gets.
SIZES = (
    "--channels",
    4,
    "--filters",
    4,
    "--batch",
    1,
    "--samples",
    8192,
    "--width",
    4,
    "--seconds",
    1,
    "--ceiling-seconds",
    1,
)


@pytest.mark.slow
def test_both_sides_of_every_benchmark_are_measured(tmp_path):
    file = tmp_path / "bench.json"
    done = run(*SIZES, "--track-seconds", 2, "--repeats", 1, "--threads", 1, "--json", file)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))

    step = results["step"]
    assert step["host"]["discriminator_parameters"] == step["ear"]["discriminator_parameters"]
    # Ours shares one activation within a residual unit, so it is a little smaller.
    assert 0.98 < step["ear"]["parameters"] / step["host"]["parameters"] < 1
    rows = [name for name in results if "median_speed_ratio" in results[name]]
    inference = ["encode + decode, float32", "encode + decode, bf16"]
    forms = [f"losses, {form}" for form in ("adaptive log", "contrast for convergence", "complex as well", "phasors")]
    assert rows == ["step", "step, discriminator in bf16", "losses", *forms, *inference, "data flac", "data mp3"]
    for benchmark in (results[name] for name in rows if not name.startswith("data")):
        for side in ("host", "ear"):
            samples = benchmark[side]["seconds"]
            assert len(samples) >= 2 and min(samples) > 0
            assert (
                min(samples) == benchmark[side]["fastest_seconds"] <= benchmark[side]["median_seconds"] <= max(samples)
            )
        for key in ("median", "fastest"):
            ratio = benchmark["host"][f"{key}_seconds"] / benchmark["ear"][f"{key}_seconds"]
            assert benchmark[f"{key}_speed_ratio"] == pytest.approx(ratio)
    for name in inference:
        assert results[name]["ear"]["audio_seconds"] == pytest.approx(1, rel=0.02)
        assert f"{name}: 0.998 s of audio" in done.stdout
    assert "feature_matching" in done.stdout  # what low precision does to the losses
    capped = results["ceilings"].pop("capped")
    assert len(results["ceilings"]) == 5 and all(value > 0 for value in results["ceilings"].values())
    assert set(capped) <= set(results["ceilings"]) and all(f"{key}: size" in done.stdout for key in capped)
    for side in ("host", "ear"):
        above, absolute = step[side]["peak_memory_mib"], step[side]["peak_memory_absolute_mib"]
        assert len(above) == len(absolute) == 1 and 0 < above[0] < absolute[0]
    assert results["machine"]["threads"] == 1 and results["settings"]["samples"] == 8192
    assert "step" in done.stdout and "losses" in done.stdout and results["machine"]["torch"] in done.stdout


@pytest.mark.slow
def test_profile_and_curve(tmp_path):
    file = tmp_path / "bench.json"
    done = run(*SIZES, "--threads", 1, "--json", file, "--only", "curve", "--profile", tmp_path / "profile")
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert {(p["audio_seconds"], p["batch"]) for p in results["curve"]["points"]} >= {(1, 1), (32, 1), (2, 4)}
    memory = {p["audio_seconds"]: p["peak_memory_mib"] for p in results["curve"]["points"] if p["batch"] == 1}
    assert memory[1] > 1 and memory[32] > 8 * memory[1]  # what a clip needs grows with its length
    parts = results["profile"]["parts"]
    assert {"generator forward", "discriminator backward, fake", "generator backward"} <= set(parts)
    # The parts are the round but for what lies between them.
    assert 0.5 * results["profile"]["seconds"] < sum(parts.values()) <= results["profile"]["seconds"]
    assert results["profile"]["gflop"] > 7 * results["profile"]["forward_gflop"]["discriminator"] > 0
    trace = json.loads((tmp_path / "profile" / "step_trace.json").read_text(encoding="utf-8"))
    assert any(event.get("name") == "ear_sat: generator forward" for event in trace["traceEvents"])


@pytest.mark.slow
def test_the_latent_options_are_measured(tmp_path):
    file = tmp_path / "bench.json"
    done = run(*SIZES, "--threads", 1, "--repeats", 2, "--json", file, "--only", "latents")
    assert done.returncode == 0, done.stderr
    seconds = json.loads(file.read_text(encoding="utf-8"))["latents"]["seconds"]
    assert {"none", "equivariance, time 2"} < set(seconds) and "latent_noise 0.1" in done.stdout
    assert all(len(samples) == 2 and min(samples) > 0 for samples in seconds.values())


@pytest.mark.parametrize(("flop_per_second", "size"), [(1, 1), (100, 8), (10000, 64)])
def test_a_slow_machine_finds_its_ceilings_with_less_work(flop_per_second, size, monkeypatch):
    """By a clock that only work moves: the largest size whose six calls the 10 seconds have room for, and its rate."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    bench_machine = importlib.import_module("bench_machine")
    clock = [0.0]
    monkeypatch.setattr(bench_machine, "now", lambda device: clock[0])

    def prepare(n):
        return lambda: clock.__setitem__(0, clock[0] + n**2 / flop_per_second)

    ceiling = bench_machine.Ceiling("flop", (1, 8, 64), lambda n: n**2, prepare)
    rate, measured = ceiling.measure("cpu", 10.0)
    assert (measured, rate) == (size, pytest.approx(flop_per_second))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "stepp"), "did you mean 'step'"),
        (("--samples", 3000), "multiple of 1024"),
        (("--repeats", 0), "--repeats must be a whole number of at least 1"),
        (("--ceiling-seconds", 0), "--ceiling-seconds must be a whole number of at least 1"),
        (("--json", "/no/such/folder/b.json"), "create it"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_to_do(arguments, words, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", ["bench.py", *map(str, arguments)])
    assert errors.run(importlib.import_module("bench").main) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line
