"""What the command line says of itself: the overview, an example for every command, and what the doctor finds."""

from __future__ import annotations

import argparse
import collections
import shutil
import sys
from collections.abc import Iterator

import pytest

from ear_sat.cli import doctor
from ear_sat.cli.examples import EXAMPLES
from ear_sat.cli.main import COMMANDS, GROUPS, TRAIN, get_parser, main
from ear_sat.cli.train import get_parser as get_train_parser

Usage = collections.namedtuple("Usage", ["total", "used", "free"])


def parser_of(command: str) -> argparse.ArgumentParser:
    if command == TRAIN:
        return get_train_parser()
    (commands,) = (a for a in get_parser(command)._actions if isinstance(a, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[command]
    return parser


def test_alone_it_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f"    {name} ") for line in lines) for name in COMMANDS)


def test_every_command_has_a_group_and_an_example() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS) == sorted(EXAMPLES)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_lines_to_copy(command: str) -> None:
    lines = [f"  {example}" for example in EXAMPLES[command]]
    assert parser_of(command).format_help().splitlines()[-len(lines) :] == lines
    assert all(example.split()[:2] == ["ear-sat", command] for example in EXAMPLES[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does(command: str) -> None:
    assert [action.dest for action in parser_of(command)._actions if not action.help] == []


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ear_sat.compiling.can_compile", lambda device: False)


def problems() -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine() if finding.problem}


@pytest.mark.usefixtures("no_compiler")
def test_the_doctor_says_what_is_absent_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_audio_tools", None)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(9e12, 9e12 - 19e9, 19e9))
    monkeypatch.setattr("ear_sat.data.shared_memory.free_bytes", lambda: 64_000_000)
    found = problems()
    assert "ear-sat[sat]" in found["host"].problem
    assert "ffmpeg" in found["ffmpeg"].problem and "19 GB" in found["disk"].problem
    assert "--compile" in found["compiler"].problem and "--shm-size" in found["shared memory"].problem
    assert not any(finding.broken for finding in found.values())


@pytest.mark.usefixtures("no_compiler")
def test_a_machine_with_room_has_no_such_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_audio_tools", None)
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(9e12, 0, 9e12))
    monkeypatch.setattr("ear_sat.data.shared_memory.free_bytes", lambda: 8_000_000_000)
    assert not {"ffmpeg", "disk", "shared memory"} & set(problems())


def test_what_is_broken_is_told_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def torn() -> Iterator[doctor.Finding]:
        raise OSError("libc10_cuda.so: cannot open shared object file")

    for check in ("_training", "_host", "_device", "_programs", "_disk"):
        monkeypatch.setattr(doctor, check, lambda: iter(()))
    assert main(["doctor"]) == 0
    assert "Everything works here." in capsys.readouterr().out
    monkeypatch.setattr(doctor, "_audio", torn)
    assert main(["doctor"]) == 1
    assert "broken: _audio" not in (said := capsys.readouterr().out) and "libc10_cuda.so" in said
