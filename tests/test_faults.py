"""The campaign of faults: it notices what it is there to notice, and a small one finds nothing."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the campaign needs Linux", allow_module_level=True)

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def outcome_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """The kind that a command gets, which is a function called in a folder with a file ``earlier.txt``."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    process, outcome = (importlib.import_module(f"faults_{name}") for name in ("process", "outcome"))
    earlier = tmp_path / "earlier.txt"
    earlier.write_text("earlier")

    def run(work: Callable[[], int], limit: float = 30.0, **options: Any) -> str:
        done = process.Child(work, tmp_path).wait(limit)
        return str(outcome.judge(done, tmp_path, kept={earlier: b"earlier"}, **options).kind)

    return run


def fail(sentence: str, code: int = 1) -> int:
    print(sentence, file=sys.stderr)
    return code


def write(name: str, content: str) -> int:
    Path(name).write_text(content)
    return 0


def test_what_holds(outcome_of: Callable[..., str]) -> None:
    assert outcome_of(lambda: 0) == "held"
    assert outcome_of(lambda: fail("error: no such file: a; give another")) == "held"
    assert outcome_of(lambda: fail("bad.wav: truncated"), named="bad.wav") == "held"


def test_silent_failures(outcome_of: Callable[..., str]) -> None:
    def unreadable() -> str:
        return Path("nothing").read_text()

    assert outcome_of(lambda: 0, right=lambda: "half the length") == "silent failure"
    assert outcome_of(lambda: 0, right=unreadable) == "silent failure"
    assert outcome_of(lambda: fail("oh")) == "silent failure"
    assert outcome_of(lambda: fail("error: one\nerror: two")) == "silent failure"
    assert outcome_of(lambda: fail("error: one", code=3)) == "silent failure"
    assert outcome_of(lambda: fail("error: one"), codes=(0,)) == "silent failure"


def test_what_is_lost_or_half_written(outcome_of: Callable[..., str], tmp_path: Path) -> None:
    assert outcome_of(lambda: write("results.json", '{"a": 1')) == "lost or half-written"
    (tmp_path / "results.json").unlink()
    assert outcome_of(lambda: write(".results.json.7.tmp", "{}")) == "lost or half-written"
    (tmp_path / ".results.json.7.tmp").unlink()
    assert outcome_of(lambda: write("a.safetensors", "")) == "lost or half-written"
    (tmp_path / "a.safetensors").unlink()
    assert outcome_of(lambda: 0) == "held"
    assert outcome_of(lambda: write("earlier.txt", "ea")) == "lost or half-written"


def test_crashes_hangs_and_code(outcome_of: Callable[..., str], tmp_path: Path) -> None:
    def hang() -> int:
        while True:
            pass

    assert outcome_of(lambda: 1 // 0) == "traceback"
    assert outcome_of(lambda: os.kill(os.getpid(), signal.SIGKILL) or 0) == "signal"
    assert outcome_of(hang, limit=0.2) == "hang"
    assert outcome_of(lambda: write("ran", ""), marker=tmp_path / "ran") == "code executed"


def test_the_table_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    faults = importlib.import_module("faults")
    results = [{"row": row, "kind": kind} for row, kind in (("a", "held"), ("b", "hang"), ("b", "held"))]
    lines = faults.markdown(results).splitlines()
    columns = [cell.strip() for cell in lines[0].strip("|").split("|")]
    cells = [dict(zip(columns, line.strip("| ").split(" | "), strict=True)) for line in lines[2:]]
    assert [(row["fault"], row["injected"], row["held"], row["hang"]) for row in cells] == [
        ("a", "1", "1", "0"),
        ("b", "2", "1", "1"),
        ("**all**", "3", "2", "1"),
    ]


@pytest.mark.slow
def test_a_small_campaign_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    pytest.importorskip("pyarrow")
    out = tmp_path / "faults.json"
    command = [sys.executable, str(SCRIPTS / "faults.py"), "--scale", "0.02", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(out.read_text())
    assert {result["row"].partition(":")[0] for result in results} == {
        "audio",
        "checkpoints",
        "configs",
        "full disks",
        "stops",
        "training",
    }
