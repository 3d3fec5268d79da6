"""Commands as forked children of one process that has imported everything: a second each instead of ten."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

#: What a child does; it returns the exit code.
Work = Callable[[], int]
#: Set before anything is imported: a thread that exists when a process forks is missing in the child.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "Agg",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's
}
#: Seconds after which a command counts as hanging; the longest sound one takes 20.
PATIENCE = 120.0
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Done(NamedTuple):
    """A command that has ended.

    Attributes:
        code: exit code; negative: the signal that killed it; None: it did not end by itself.
        out, err: what it printed.
        seconds: that it took.
    """

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        return self.out + self.err


class Child:
    """A process under way, in a process group of its own.

    Args:
        work: what it does.
        folder: where it does it.
    """

    def __init__(self, work: Work, folder: Path) -> None:
        # Not closed here: it is read when the child has ended.
        self._streams: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        self._began = time.monotonic()
        self._ended: tuple[int | None, float] | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _live(work, folder, [stream.fileno() for stream in self._streams])

    def poll(self, limit: float = PATIENCE) -> bool:
        """Whether it has ended; past ``limit`` seconds it is ended."""
        if self._ended is not None:
            return True
        seconds = time.monotonic() - self._began
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._ended = os.waitstatus_to_exitcode(status), seconds
        elif seconds > limit:
            self.kill(signal.SIGKILL, group=True)
            os.waitpid(self.pid, 0)
            self._ended = None, seconds
        return self._ended is not None

    def wait(self, limit: float = PATIENCE) -> Done:
        """Waits for its end."""
        while not self.poll(limit):
            time.sleep(0.005)
        assert self._ended is not None
        out, err = (_text(stream) for stream in self._streams)
        return Done(self._ended[0], out, err, self._ended[1])

    def kill(self, number: signal.Signals, group: bool = False) -> None:
        """Sends a signal, to its own children as well with ``group``."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number) if group else os.kill(self.pid, number)


def ear_sat(*arguments: object) -> Work:
    """The command ``ear-sat ARGUMENTS``."""

    def work() -> int:
        from ear_sat.cli.main import main

        return main([str(argument) for argument in arguments])

    return work


def warm_up() -> None:
    """Imports what the commands need, and draws once, for fonts take a second; no backward pass, which starts threads.

    Raises:
        RuntimeError: there are threads nevertheless.
    """
    import importlib

    from ear_sat.cli import main
    from ear_sat.cli.train import _builders

    for name in main.COMMANDS:
        main.load(name)
    for module in ("training.run.train", "training.run.own", "evaluate", "prepare.run", "encoding", "tones"):
        importlib.import_module(f"ear_sat.{module}")
    for module in ("librosa", "auraloss", "pyarrow.parquet", "matplotlib.pyplot", "soxr", "scipy.signal"):
        importlib.import_module(module)
    _builders()
    with tempfile.TemporaryDirectory() as folder:
        _draw(Path(folder))
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"{threads} threads run after the imports; a fork would lose them")


def _draw(folder: Path) -> None:
    import torch

    from ear_sat.report.plots import save_curves, save_spectrograms

    save_curves(folder / "curves.png", {"train/loss/total": [(1, 1.0), (2, 0.5)]}, "run")
    save_spectrograms(folder / "spectrograms.png", torch.rand(2, 4096), torch.rand(2, 4096), 48_000)


def _live(work: Work, folder: Path, descriptors: list[int]) -> NoReturn:
    """The child's whole life: as an interpreter would do it."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((nothing, *descriptors)):
            os.dup2(source, target)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = (
            open(number, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
            for number in (1, 2)
        )
        os.chdir(folder)
        code = _code(work)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _code(work: Work) -> int:
    try:
        return work()
    except SystemExit as leaving:
        if isinstance(leaving.code, int | None):
            return leaving.code or 0
        print(leaving.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")
