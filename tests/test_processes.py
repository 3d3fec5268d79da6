"""Calls in several processes: results as they come, no orphans, a clear word when a process dies."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from waiting import wait_for

from ear_sat import UserError
from ear_sat.processes import Runner, workers


def die(_: int) -> None:
    os._exit(9)


def die_beside_others(folder: str, number: int) -> int:
    """Number 1 dies the first time, 2 always."""
    mark = Path(folder, str(number))
    if number == 2 or (number == 1 and not mark.exists()):
        mark.touch()
        os._exit(9)
    return number


def threads(_: int) -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


def count(upto: int, pause: float = 0.0) -> Iterator[int]:
    yield os.getpid()
    for number in range(upto):
        time.sleep(pause)
        yield number


def fail(kind: str) -> int:
    if kind == "user":
        raise UserError("the disk is full; free some space")
    if kind == "bug":
        raise ZeroDivisionError("a number\nof lines")
    if kind == "file":
        raise FileNotFoundError(2, "No such file", "a.wav")
    if kind == "local":

        class LocalError(Exception):
            pass

        raise LocalError("cannot be sent")
    if kind == "result":
        return lambda: 0  # type: ignore[return-value]
    time.sleep(600)
    return 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module", params=[1, 2])
def team(request) -> Iterator[tuple[int, Runner]]:
    """One process or two, and what runs calls there."""
    with workers(request.param) as run:
        yield request.param, run


def test_results_of_any_number_of_calls(team):
    processes, run = team
    taken = []

    def jobs():
        for number in range(40):
            taken.append(number)
            yield (number, 2)

    results = run(pow, jobs())
    first = next(results)
    assert len(taken) <= processes + 1  # calls are taken as processes get free
    assert sorted([first, *results]) == [(number, number**2) for number in range(40)]
    assert list(run(pow, [])) == [] and list(run(pow, [(2, 5)])) == [(0, 32)]


def test_processes_stay_and_share_the_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    with workers(2) as run:
        found = {value for _ in range(2) for _, value in run(threads, [(n,) for n in range(8)])}
    assert len(found) <= 2 and {count for _, count in found} == {3}
    assert not any(alive(pid) for pid, _ in found)


def test_the_values_of_generators_come_one_by_one(team):
    processes, run = team
    values = list(run(count, [(2,), (0,), (3,)]))
    for call, upto in enumerate((2, 0, 3)):
        pid, *numbers = [value for index, value in values if index == call]
        assert numbers == list(range(upto)) and (pid == os.getpid()) == (processes == 1)
    if processes > 1:  # what is not wanted any more is ended
        pids = [value for _, value in itertools.islice(run(count, [(600, 1.0)] * 2), 2)]
        assert wait_for(lambda: not any(map(alive, pids)))
        assert list(run(pow, [(2, 3)])) == [(0, 8)]


def test_a_failure_comes_as_it_is_and_stops_all():
    cases: dict[str, tuple[type[Exception], str]] = {
        "user": (UserError, "^the disk is full; free some space$"),
        "bug": (ZeroDivisionError, "a number\nof lines"),
        "file": (FileNotFoundError, "a.wav"),
        "local": (RuntimeError, "cannot be sent"),
        "result": (Exception, "lambda"),
    }
    with workers(2) as run:
        for kind, (error, words) in cases.items():
            with pytest.raises(error, match=words) as raised:
                list(run(fail, [*([("slow",)] if kind == "user" else []), (kind,)]))
            assert "in a worker process" in str(raised.value.__cause__)
        assert list(run(pow, [(2, 3)])) == [(0, 8)]


def test_a_call_whose_process_died_is_made_again_alone(tmp_path):
    """Memory may have ended because of its neighbours; what kills its process alone is to blame."""
    jobs = [(str(tmp_path), number) for number in range(4)]
    with workers(2) as run:
        assert sorted(run(die_beside_others, jobs, on_death=lambda _, number: -number)) == list(
            enumerate([0, 1, -2, 3])
        )


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
