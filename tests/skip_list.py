"""Skipped tests are told, and in CI (the variable CI set) a skip that allowed_skips.txt does not list fails the run.

A skip hides a test that nobody runs: what CI can install, it must.
"""

from __future__ import annotations

import os
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

LIST = Path(__file__).with_name("allowed_skips.txt")


def allowed(text: str) -> list[tuple[str, str]]:
    """Patterns of tests and of reasons, in the shell's sense, from lines "test: reason"; # begins a comment line."""
    lines = [line.strip() for line in text.splitlines()]
    parts = [line.partition(": ") for line in lines if line and not line.startswith("#")]
    return [(test, reason) for test, _, reason in parts]


def skips(terminal: Any) -> list[tuple[str, str]]:
    """Test or module, and reason, of every skip so far."""
    reports = terminal.stats.get("skipped", [])
    return [(report.nodeid, str(report.longrepr[-1]).removeprefix("Skipped: ")) for report in reports]


def not_allowed(found: list[tuple[str, str]], patterns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    def matches(skip: tuple[str, str]) -> bool:
        return any(all(map(fnmatchcase, skip, pattern)) for pattern in patterns)

    return [skip for skip in found if not matches(skip)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(session.config, "workerinput") or not os.environ.get("CI"):
        return
    if not_allowed(skips(terminal), allowed(LIST.read_text(encoding="utf-8"))) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    found = skips(terminalreporter)
    if not found:
        return
    terminalreporter.section("skipped")
    for reason, count in Counter(reason for _, reason in found).items():
        terminalreporter.line(f"{count} × {reason}")
    for test, reason in not_allowed(found, allowed(LIST.read_text(encoding="utf-8"))) if os.environ.get("CI") else []:
        terminalreporter.line(f"not in tests/{LIST.name}: {test}: {reason}", red=True)
