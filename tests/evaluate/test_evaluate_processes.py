"""Several processes: the same figures, and no result lost when killed."""

import json
import signal
import subprocess
import sys

import pytest
from waiting import wait_for

SLOW_METRICS = """
import sys, time
from ear_sat.cli.main import main
from ear_sat.evaluate import measure

original = measure.evaluate_pair

def slowly(*arguments):
    time.sleep(1.0)
    return original(*arguments)

measure.evaluate_pair = slowly
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tmp_path, noise, write, evaluate_command):
    for index in range(3):
        write(tmp_path / "ref" / f"{index}.wav", noise(index, 0.3))
        write(tmp_path / "codec" / f"{index}.wav", noise(index, 0.3) + 0.1 * noise(9, 0.3))
    arguments = ("--reference", tmp_path / "ref", "--estimate", f"x={tmp_path / 'codec'}", "--audio", 1)
    assert evaluate_command(*arguments, "--out", tmp_path / "one") == 0
    assert evaluate_command(*arguments, "--out", tmp_path / "two", "--processes", 2) == 0
    one, two = (json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("one", "two"))
    assert one["summaries"] == two["summaries"]
    assert [file["file"] for file in two["files"]] == ["0", "1", "2"]


@pytest.mark.slow
def test_killed_and_run_again(tmp_path, noise, write, evaluate_command):
    for index in range(4):
        write(tmp_path / "ref" / f"{index}.wav", noise(index, 0.2))
    out = tmp_path / "out"
    arguments = ["evaluate", "--reference", tmp_path / "ref", "--estimate", f"x={tmp_path / 'ref'}", "--out", out]
    command = [sys.executable, "-c", SLOW_METRICS, *map(str, arguments), "--processes", "1", "--audio", "0"]
    log = out / "rows" / "0.jsonl"

    def measured():
        return [line for line in log.read_bytes().splitlines() if b'"result"' in line] if log.exists() else []

    process = subprocess.Popen(command)
    try:
        assert wait_for(lambda: len(measured()) >= 2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = measured()
    assert 2 <= len(done) < 4 and not (out / "results.json").exists()
    with log.open("ab") as file:
        file.write(done[0][:100])  # as a kill in the middle of writing leaves it
    assert evaluate_command(*arguments[1:], "--audio", 0) == 0
    assert [line for line in measured() if line in done] == done and len(measured()) == 4 + 1  # the half one too
    assert len(json.loads((out / "results.json").read_text(encoding="utf-8"))["files"]) == 4
