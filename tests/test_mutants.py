"""The script that plants bugs: what it finds, and that it leaves the tree as it was."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
SOUND = "def double(n):\n    return n + n\n"
TEST = "from sums import double\n\ndef test_double():\n    assert double(2) == 4\n"


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))  # its processes find it there too
    return importlib.import_module("mutants")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "sums.py").write_text(SOUND)
    (tmp_path / "test_sums.py").write_text(TEST)
    return tmp_path


def test_the_list_can_be_read(mutants: Any) -> None:
    listed = mutants.parse(mutants.LIST.read_text(encoding="utf-8"))
    assert len(listed) > 40
    assert len({mutant.name for mutant in listed}) == len(listed)
    for mutant in listed:
        assert (mutants.ROOT / mutant.file).is_file() and mutant.old != mutant.new
        assert all((mutants.ROOT / test).exists() for test in mutant.tests if test.startswith("tests/"))


@pytest.mark.parametrize("text", ["# no place\n- a\n+ b\n", "# no text\na.py: tests\n", "a.py: tests\n- a\n+ b\n"])
def test_what_is_no_mutant_is_refused(mutants: Any, text: str) -> None:
    with pytest.raises(ValueError, match="this is no mutant"):
        mutants.parse(text)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("n + n", "n * n + 1", "caught"),
        ("n + n", "n +", "caught"),  # the tests cannot even be imported
        ("n + n", "n * n", "survived"),
        ("n - n", "0", "stale"),
        ("n", "m", "stale"),  # not once
    ],
)
def test_verdicts(mutants: Any, tree: Path, old: str, new: str, expected: str) -> None:
    mutant = mutants.Mutant("a bug", "sums.py", old, new, ("test_sums.py",))
    assert mutants.verdict(mutant, tree) == expected
    assert (tree / "sums.py").read_text() == SOUND


@pytest.mark.parametrize(("new", "code"), [("n * n + 1", 0), ("n * n", 1)])
def test_what_survives_fails_the_script(mutants: Any, tree: Path, capsys: Any, new: str, code: int) -> None:
    listed = tree / "mutants.txt"
    listed.write_text(f"# a bug\nsums.py: test_sums.py\n- n + n\n+ {new}\n")
    assert mutants.main([], root=tree, listed=listed) == code
    assert ("1 caught, 0 survived" if code == 0 else "0 caught, 1 survived") in capsys.readouterr().out


def test_tests_that_fail_without_a_bug_prove_nothing(mutants: Any, tree: Path) -> None:
    (tree / "test_sums.py").write_text("def test_nothing():\n    assert False\n")
    listed = tree / "mutants.txt"
    listed.write_text("# a bug\nsums.py: test_sums.py\n- n + n\n+ n\n")
    with pytest.raises(SystemExit, match=r"fail without any bug: test_sums\.py"):
        mutants.main([], root=tree, listed=listed)
