"""Several processes: the same figures, no result lost when killed, no orphans, a clear word when one dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_for

from ear_sat import UserError
from ear_sat.processes import workers

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


def die(_: int) -> None:
    os._exit(9)


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
    process = subprocess.Popen(command)
    try:
        assert wait_for(lambda: len(list(out.glob("cache/*.json"))) >= 2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("cache/*.json")}
    assert 2 <= len(done) < 4 and not (out / "results.json").exists()
    (out / "cache" / f".half.json.{process.pid}.tmp").write_text("{")  # as a kill in the middle of writing leaves it
    assert evaluate_command(*arguments[1:], "--audio", 0) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list((out / "cache").iterdir())) == 4
    assert len(json.loads((out / "results.json").read_text(encoding="utf-8"))["files"]) == 4


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_their_parent():
    code = (
        "import os, time\n"
        "from ear_sat.processes import workers\n"
        "if __name__ == '__main__':\n"
        "    with workers(2) as run:\n"
        "        for _, pid in run(os.getpid, [()]):\n"
        "            print(pid, flush=True)\n"
        "            time.sleep(600)\n"
    )
    # From a file: a spawned worker imports the main module again, and "-c" has none.
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()

    def gone() -> bool:
        try:
            return Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z"
        except OSError:
            return True

    assert wait_for(gone)


def test_a_worker_that_dies_is_a_clear_error():
    with pytest.raises(UserError, match="a worker process died"), workers(2) as run:
        list(run(die, [(1,), (2,)]))


@pytest.mark.slow
def test_processes_that_cannot_start_blame_no_call(tmp_path):
    """As in a script that starts them wherever it is imported, which each of them does."""
    script = tmp_path / "script.py"
    script.write_text(
        "from ear_sat.processes import workers\n"
        "with workers(2) as run:\n"
        "    print(list(run(pow, [(2, 3), (2, 5)], on_death=lambda *call: 'died')))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "died" not in done.stdout
    assert "worker processes end before they have done anything" in done.stderr
