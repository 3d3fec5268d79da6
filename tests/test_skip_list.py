"""What a run with skipped tests prints, and when it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_listed(n):
    pytest.skip(f"needs part {n} of nothing")

def test_passes():
    pass
"""
NEW = """
import pytest
pytest.importorskip("no_such_module")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs pytest in a folder with these hooks, two tests that are skipped and listed, and more modules by name."""
    folder = Path(__file__).parent
    shutil.copy(folder / "skip_list.py", tmp_path)
    (tmp_path / "conftest.py").write_text("from skip_list import pytest_sessionfinish, pytest_terminal_summary\n")
    (tmp_path / "allowed_skips.txt").write_text("# why\ntest_a.py::test_listed*: needs part * of nothing\n")
    monkeypatch.delenv("CI", raising=False)

    def run_pytest(*arguments, **modules):
        for name, text in {"test_a": TESTS, **modules}.items():
            (tmp_path / f"{name}.py").write_text(text)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run_pytest


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "workers"])
def test_ci_fails_on_a_skip_that_is_not_listed(workers, run, monkeypatch):
    monkeypatch.setenv("CI", "true")
    done = run(*workers)
    assert done.returncode == 0, done.stdout
    assert "1 × needs part 1 of nothing" in done.stdout and "not in tests" not in done.stdout
    done = run(*workers, test_b=NEW)
    assert done.returncode == 1
    words = "could not import 'no_such_module': No module named 'no_such_module'"
    assert f"not in tests/allowed_skips.txt: test_b.py: {words}" in done.stdout
    assert done.stdout.count("not in tests") == 1


def test_elsewhere_skips_are_told(run):
    done = run(test_b=NEW)
    assert done.returncode == 0
    assert "1 × could not import 'no_such_module'" in done.stdout and "not in tests" not in done.stdout


def test_other_codes_stay(run, monkeypatch):
    monkeypatch.setenv("CI", "true")
    assert run(test_b=NEW, test_c="def test_wrong(:").returncode == pytest.ExitCode.INTERRUPTED
    assert run("-k", "nothing", test_b="", test_c="").returncode == pytest.ExitCode.NO_TESTS_COLLECTED
