"""Results as they come: files to which one line of JSON after the other is appended.

A process that is killed loses at most the line it was at. What it leaves of that is skipped when the file is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from .files import make_folder


class JsonLines:
    """Appends to ``path``, which one process at a time may do; use it in a ``with`` block.

    Raises:
        OSError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "0.jsonl").write_text('{"a": 1}\\n{"a": ')  # a kill in the middle of a line
    ...     with JsonLines(Path(folder, "0.jsonl")) as lines:
    ...         lines.append({"a": 2})
    ...     list(read_lines(Path(folder, "0.jsonl")))
    [{'a': 1}, {'a': 2}]
    """

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._file = path.open("ab")
        if self._file.tell() and _last_byte(path) != b"\n":
            self._file.write(b"\n")

    def append(self, value: dict[str, Any]) -> None:
        """Adds a line, which is on the disk when this returns."""
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file one by one, without those that are damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
