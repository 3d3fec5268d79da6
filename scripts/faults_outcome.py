"""What became of a fault: held, or in which way it was not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from faults_process import Done

HELD = "held"
SILENT, LOST, CODE, TRACEBACK, SIGNAL, HANG = (
    "silent failure",
    "lost or half-written",
    "code executed",
    "traceback",
    "signal",
    "hang",
)
UNCLEAR = "unclear"
"""The case itself failed."""
KINDS = (HELD, SILENT, LOST, CODE, TRACEBACK, SIGNAL, HANG, UNCLEAR)
#: Characters of what is told about an outcome.
_DETAIL = 400


class Outcome(NamedTuple):
    """One of :data:`KINDS`, and what there is to tell."""

    kind: str
    detail: str = ""


def judge(
    done: Done,
    folder: Path,
    right: Callable[[], str] = str,
    *,
    named: str = "",
    marker: Path | None = None,
    kept: Mapping[Path, bytes] | None = None,
    codes: tuple[int, ...] = (0, 1),
) -> Outcome:
    """What a command made of a fault.

    Args:
        done: the command.
        folder: where it wrote.
        right: what is wrong with its results, "" if nothing.
        named: the file that a command which goes on past bad files may name in place of the one sentence.
        marker: a file that hostile code would write.
        kept: files that must be as they were.
        codes: exit codes that are allowed; any but 0 must come with one sentence.
    """
    said = _last_lines(done)
    if marker is not None and marker.exists():
        return Outcome(CODE, said)
    if done.code is None:
        return Outcome(HANG, f"not done after {done.seconds:.0f} s; {said}")
    if done.code < 0:
        return Outcome(SIGNAL, f"signal {-done.code}; {said}")
    if "Traceback (most recent call last)" in done.text:
        return Outcome(TRACEBACK, said)
    if lost := lost_in(folder, kept or {}):
        return Outcome(LOST, lost)
    if done.code not in codes:
        return Outcome(SILENT, f"exit code {done.code}; {said}")
    sentences = [line for line in done.err.splitlines() if line.startswith("error: ")]
    if done.code and len(sentences) != 1 and not (named and named in done.text):
        return Outcome(SILENT, f"exit code {done.code} with {len(sentences)} sentences; {said}")
    if not sentences and (wrong := _wrong(right)):
        return Outcome(SILENT, wrong)
    return Outcome(HELD, sentences[0] if sentences else "")


def _wrong(right: Callable[[], str]) -> str:
    try:
        return right()
    except Exception as error:  # results that are not there or cannot be read
        return f"{type(error).__name__}: {error}"


def lost_in(folder: Path, kept: Mapping[Path, bytes], leftovers: bool = True) -> str:
    """The first file below ``folder`` that is half-written, or of ``kept`` that has changed; "" if there is none.

    Args:
        folder: where a command wrote.
        kept: files that must be as they were.
        leftovers: whether temporary files count; a killed process may leave them for the next one to remove.
    """
    for path, content in kept.items():
        if not path.is_file() or path.read_bytes() != content:
            return f"{path.name} is not as it was"
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") and path.name.endswith(".tmp"):
            if leftovers:
                return f"{path.name} was left behind"
        elif path.is_file() and (wrong := incomplete(path)):
            return f"{path.name}: {wrong}"
    return ""


def incomplete(path: Path) -> str:
    """Why a file cannot be a whole one, as far as its kind tells; "" if it can."""
    check = _CHECKS.get(path.suffix)
    if check is None:
        return ""
    try:
        return check(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _json(path: Path) -> str:
    json.loads(path.read_text(encoding="utf-8"))
    return ""


def _array(path: Path) -> str:
    import numpy as np

    return "" if np.isfinite(np.load(path)).all() else "holds numbers that are not finite"


def _wave(path: Path) -> str:
    import soundfile

    with soundfile.SoundFile(path) as file:
        return "" if len(file.read()) == file.frames > 0 else "ends before its header says"


def _checkpoint(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    return f"{bad} is damaged" if bad else ""


def _safetensors(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        return "" if list(file.keys()) else "holds no tensors"


def _parquet(path: Path) -> str:
    from pyarrow import parquet

    parquet.read_table(path)
    return ""


def _picture(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
    return ""


def _shard(path: Path) -> str:
    import tarfile

    with tarfile.open(path) as archive:
        return "" if len(archive.getmembers()) % 2 == 0 else "a member is missing"


_CHECKS: dict[str, Callable[[Path], str]] = {
    ".json": _json,
    ".npy": _array,
    ".wav": _wave,
    ".ckpt": _checkpoint,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".png": _picture,
    ".tar": _shard,
}


def _last_lines(done: Done) -> str:
    lines = [line.strip() for line in (done.err or done.out).splitlines() if line.strip()]
    return " | ".join(lines[-4:])[-_DETAIL:]
