"""The set-up, with a uv that only notes what it is asked for: what is made, kept, repaired, refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
UV = """#!/bin/sh
test "$1" = --version && echo "uv 0.9.0" && exit
test "$1" = python && echo "[]" && exit
echo "$@" >> "$UV_LOG"
if test "$1" = venv; then for venv; do :; done; mkdir -p "$venv/bin" && touch "$venv/bin/python" "$venv/pyvenv.cfg"; fi
if test "$1" = pip && test -n "$UV_FAILS"; then kill -9 $PPID; fi
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the uv of these tests is a shell script")


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def folder(tmp_path):
    """A copy of what the set-up reads, and a uv to call."""
    shutil.copytree(ROOT / "ear_sat" / "host" / "pins", tmp_path / "repo" / "ear_sat" / "host" / "pins")
    (tmp_path / "repo" / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "set_up.py", tmp_path / "repo" / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "repo")
    executable(tmp_path / "bin" / "uv", UV)
    return tmp_path


@pytest.fixture
def set_up(folder):
    """Runs it, and returns its exit code, what it printed, and the calls of uv."""

    def run(*arguments, **environment):
        log = folder / "log"
        log.write_text("")
        path = f"{folder / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
        variables = {"PATH": path, "UV_LOG": str(log), "PYENV_ROOT": str(folder / "pyenv"), "HOME": str(folder)}
        done = subprocess.run(
            [sys.executable, folder / "repo" / "scripts" / "set_up.py", *arguments],
            env={**variables, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()

    return run


def test_made_once(folder, set_up):
    code, _, (venv, install) = set_up("--python", VERSION)
    assert code == 0 and venv.endswith(str(folder / "repo" / ".venv"))
    assert "--overrides" in install and "0.0.20-overrides.txt" in install and install.endswith("pip -e .[sat,dev]")
    assert "--torch-backend" not in install
    assert set_up() == set_up("--python", VERSION) == (0, "", [])


def test_another_wish_or_version_makes_it_again(folder, set_up):
    set_up("--python", VERSION)
    _, _, (_, install) = set_up("--torch-backend", "cpu")
    assert "--torch-backend cpu" in install
    assert set_up() == (0, "", [])
    with (folder / "repo" / "ear_sat" / "host" / "pins" / "0.0.20.txt").open("a") as pins:
        pins.write("one-more==1\n")
    _, _, (_, install) = set_up()
    assert "--torch-backend cpu" in install  # what was chosen stays


def test_another_host_makes_it_again_with_a_python_of_its_own(folder, set_up):
    set_up("--python", VERSION)
    executable(folder / "bin" / "python3.11", f"""#!/bin/sh\necho '["3.11.9", "{folder}/of-its-own"]'\n""")
    (folder / "repo" / ".venv" / "left_over").touch()
    _, _, (venv, install) = set_up("--host", "0.0.19")
    assert f"--python {folder}/of-its-own" in venv and "0.0.19-overrides.txt" in install
    assert not (folder / "repo" / ".venv" / "left_over").exists()
    code, printed, calls = set_up("--host", "0.0.19", "--python", "3.13")
    assert (code, printed, calls) == (1, "error: stable-audio-tools 0.0.19 needs Python 3.10 to 3.11, not 3.13\n", [])


def test_killed_half_way(folder, set_up):
    code, _, calls = set_up("--python", VERSION, UV_FAILS="1")
    assert code == -9 and len(calls) == 2
    (folder / "repo" / ".venv" / "half_made").touch()
    code, _, calls = set_up("--python", VERSION)
    assert code == 0 and len(calls) == 2 and not (folder / "repo" / ".venv" / "half_made").exists()
    assert set_up() == (0, "", [])


def test_a_python_that_has_gone(folder, set_up):
    set_up("--python", VERSION)
    (folder / "repo" / ".venv" / "bin" / "python").unlink()
    assert len(set_up()[2]) == 2


def test_a_folder_of_somebody_else_is_left_alone(folder, set_up):
    theirs = folder / "theirs"
    (theirs / "lib").mkdir(parents=True)
    code, printed, calls = set_up("--venv", str(theirs))
    assert code == 1 and calls == [] and (theirs / "lib").is_dir()
    assert printed == f"error: {theirs} was not made by this set-up; remove it or choose another folder with VENV=\n"


def test_commands_that_do_not_run_are_passed_over(folder, set_up):
    """pyenv puts a python3.x on the PATH for versions that only run from its own folder."""
    executable(folder / "bin" / "python3.10", "#!/bin/sh\necho 'command not found' >&2; exit 127\n")
    python = executable(folder / "pyenv" / "versions" / "3.10.99" / "bin" / "python", "#!/bin/sh\n")
    python.write_text(f"""#!/bin/sh\necho '["3.10.99", "{python}"]'\n""")
    for asked in ("3.10.99", "python3.10.99", str(python)):
        assert set_up("--find", "--python", asked) == (0, f"{python}\n", [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--python", "3.9"], "stable-audio-tools 0.0.20 needs Python 3.10 to 3.13, not 3.9"),
        (["--python", "nonsense"], "nonsense is not a Python that runs; give its path or a version such as 3.12"),
        (["--host", "0.0.18"], "no host 0.0.18; choose 0.0.20 or 0.0.19"),
    ],
)
def test_errors_are_one_sentence(set_up, arguments, sentence):
    assert set_up(*arguments) == (1, f"error: {sentence}\n", [])


def test_marker_says_what_is_there(folder, set_up):
    set_up("--python", VERSION)
    marker = json.loads((folder / "repo" / ".venv" / ".installed").read_text())
    assert marker["host"] == "0.0.20" and marker["python"] == VERSION


def test_it_is_written_for_python_3_8():
    """It runs before there is an environment, on whatever Python a machine has."""
    import ast

    ast.parse((ROOT / "scripts" / "set_up.py").read_text(), feature_version=(3, 8))
