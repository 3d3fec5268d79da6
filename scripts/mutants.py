"""Plants bugs, one after another, in a copy of the tree and sees whether the tests notice.

    python scripts/mutants.py              every bug of mutants.txt
    python scripts/mutants.py best clip    those with one of these words in their name or file

A bug is caught when one of its tests fails, and has survived when they pass. It is stale when its old text does not
stand in its file exactly once: then the list must follow the code. Before that the tests must pass without any bug.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".txt")
#: A server that has imported what takes long, but nothing of the tree, forks one process for every run of tests.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = ["pytest", "librosa", "scipy.signal", "stable_audio_tools.training.diffusion", "webdataset"]
#: Added to pytest's exit code, for a process that fails by itself has 1 as well.
DONE = 100
#: Seconds after which tests that never end count as failed.
PATIENCE = 600


class Mutant(NamedTuple):
    """A bug: ``old`` becomes ``new`` in ``file``, and ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def text(self, root: Path) -> str | None:
        """The file with the bug in it; None where the old text is not there exactly once."""
        path = root / self.file
        sound = path.read_text(encoding="utf-8") if path.is_file() else ""
        return sound.replace(self.old, self.new) if sound.count(self.old) == 1 else None


def parse(text: str) -> list[Mutant]:
    r"""Mutants from blocks of lines: "# name", "file: tests", old lines after "- ", new ones after "+ ".

    >>> parse("# off by one\na.py: tests/test_a.py -k 'sums or so'\n- n + 1\n+ n\n")
    [Mutant(name='off by one', file='a.py', old='n + 1', new='n', tests=('tests/test_a.py', '-k', 'sums or so'))]
    """
    mutants = []
    for block in text.strip().split("\n\n"):
        name, place, *lines = block.splitlines()
        file, _, tests = place.partition(": ")
        old, new = ("\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+")
        if not (name.startswith("# ") and tests and old and all(line[:2] in ("- ", "+ ", "+") for line in lines)):
            raise ValueError(f"this is no mutant:\n{block}")
        mutants.append(Mutant(name[2:], file, old, new, tuple(shlex.split(tests))))
    return mutants


def run(tests: tuple[str, ...], tree: Path) -> bool:
    """Whether the tests pass in ``tree``."""
    process = PROCESSES.Process(target=_pytest, args=(tests, tree))
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        return False
    code = process.exitcode
    if code in (DONE + 1, DONE + 2) or (code is not None and code < 0):  # failed; nothing to import; crashed
        return False
    if code != DONE:
        raise SystemExit(f"pytest {' '.join(tests)} did not run: exit code {code}")
    return True


def _pytest(tests: tuple[str, ...], tree: Path) -> None:
    """What a process of its own does: it finds the package in ``tree``, and so do those that it starts."""
    import pytest

    os.chdir(tree)
    sys.path.insert(0, str(tree))
    os.environ["PYTHONPATH"] = str(tree)
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    sys.exit(DONE + pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))


def verdict(mutant: Mutant, tree: Path) -> str:
    """``"caught"``, ``"survived"`` or ``"stale"``; the tree is afterwards as it was."""
    text = mutant.text(tree)
    if text is None:
        return "stale"
    path = tree / mutant.file
    sound = path.read_bytes()
    path.write_text(text, encoding="utf-8")
    try:
        return "survived" if run(mutant.tests, tree) else "caught"
    finally:
        path.write_bytes(sound)


def main(argv: list[str] | None = None, root: Path = ROOT, listed: Path = LIST) -> int:
    """Plants the bugs that were asked for; 1 if any survives or is stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="names or files of the bugs to plant; default: all")
    words = parser.parse_args(argv).words
    mutants = parse(listed.read_text(encoding="utf-8"))
    mutants = [m for m in mutants if not words or any(word in f"{m.name} {m.file}" for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        shutil.copytree(root, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs", "*.egg-info", "build"))
        passed: set[tuple[str, ...]] = set()
        verdicts = []
        for mutant in mutants:
            if mutant.tests not in passed and not run(mutant.tests, tree):
                raise SystemExit(f"these tests fail without any bug: {' '.join(mutant.tests)}")
            passed.add(mutant.tests)
            began = time.monotonic()
            verdicts.append(verdict(mutant, tree))
            print(f"{verdicts[-1]:8}  {time.monotonic() - began:5.1f} s  {mutant.file}: {mutant.name}", flush=True)
    print(", ".join(f"{verdicts.count(kind)} {kind}" for kind in ("caught", "survived", "stale")))
    return int(verdicts.count("caught") < len(verdicts))


if __name__ == "__main__":
    # Inherited by the server, the tests and the processes that they start.
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", TORCHINDUCTOR_COMPILE_THREADS="1")
    PROCESSES.set_forkserver_preload(PRELOADED)
    sys.exit(main())
