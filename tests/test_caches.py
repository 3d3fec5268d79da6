"""Users without a home: libraries get a cache, and a ~ that stands for nothing is one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ear_sat.caches import VARIABLES, ensure_caches
from ear_sat.errors import UserError
from ear_sat.files import expanded
from ear_sat.weights.released import folder


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that nobody can write, root included: its folder would lie below a file."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what is set is undone
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))


def test_without_a_home_there_are_private_caches(no_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    ensure_caches()
    made = {name: os.environ[name] for name in VARIABLES}
    assert made.pop("MPLCONFIGDIR") == "mine"
    (parent,) = {Path(path).parent for path in made.values()}
    assert parent.stat().st_mode & 0o777 == 0o700 and len(set(made.values())) == len(made)
    ensure_caches()
    assert made.items() <= os.environ.items()


def test_they_end_with_their_process(no_cache: None, tmp_path: Path) -> None:
    code = "import os; from ear_sat.caches import ensure_caches; ensure_caches(); print(os.environ['MPLCONFIGDIR'])"
    root = Path(__file__).parents[1]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    made = Path(done.stdout.strip())
    assert made.parents[1] == tmp_path and not made.parent.exists()


def test_with_a_home_nothing_changes(no_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    ensure_caches()
    assert not any(os.environ[name] for name in VARIABLES) and not (tmp_path / "not").exists()


def test_a_home_that_is_not_there(no_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="cannot read ~nobody-of-this-name/a: there is no home folder that its ~"):
        expanded("~nobody-of-this-name/a")

    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("EAR_SAT_WEIGHTS", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(UserError, match="no home folder for the released weights; set HOME or XDG_CACHE_HOME"):
        folder()
    ensure_caches()  # librosa needs one; the weights are not kept there
    made = os.environ["XDG_CACHE_HOME"]
    monkeypatch.setenv("XDG_CACHE_HOME", made)  # so that it is undone
    with pytest.raises(UserError, match="no home folder for the released weights"):
        folder()
