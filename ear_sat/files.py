"""Folders, and files that are either the old version or the complete new one, whatever interrupts the writing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS) if hasattr(errno, "EDQUOT") else (errno.ENOSPC, errno.EROFS)
"""Numbers of the errors after which nothing can be written for the time being, whatever it is."""
_ROOM = 1 << 16  # bytes: a disk with less took what it could
MAX_NAME_BYTES = 255
"""Of a file's name, on nearly every file system."""


def expanded(path: str | Path) -> Path:
    """``path`` with the home folder that a ``~`` at its beginning stands for.

    Raises:
        UserError: there is no such user, or the user has no home, as in some containers.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"cannot read {path}: there is no home folder that its ~ stands for; write out the path"
        ) from None


def make_folder(path: Path) -> None:
    """Makes a folder and those above it; it may exist.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror or error}; choose another --out") from None


def unwritten(path: Path, reason: str) -> OSError:
    """The error for what a library has not written, or in part: libsndfile keeps the system's reason to itself."""
    if shutil.disk_usage(path.parent).free < _ROOM:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(f"{reason}; may files there be so large?")


@contextlib.contextmanager
def disk_errors(out: Path, *more: type[Exception]) -> Iterator[None]:
    """Makes a :class:`UserError` of what goes wrong while ``out`` is written to: an OSError, or one of ``more``."""
    try:
        yield
    except (OSError, *more) as error:  # type: ignore[misc] # mypy loses the types of a tuple in a tuple
        raise UserError(
            f"cannot write to {out}: {error}; what is finished is kept: free some space or choose another --out, and "
            "run the same command again"
        ) from error


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on leaving, syncs the file written there and renames it to ``path``.

    If the block or the renaming raises, the temporary file is removed and ``path`` is left as it was. What a killed
    process leaves behind matches :func:`stale_files`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder, "notes.txt")) as temporary:
    ...         _ = temporary.write_text("complete")
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('notes.txt', 'complete')]
    """
    path = Path(path)
    # Not tempfile.mkstemp: it makes the file readable by its owner only, and the mode survives the renaming.
    temporary = temporary_path(path)
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        with temporary.open("r+b" if os.name == "nt" else "rb") as file:  # any handle of the file will do, but there
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 (tests make this one fail)
    finally:
        # Also after success: renaming one hard link of a file onto another one of it does nothing and keeps both.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """Where :func:`atomic_path` writes first: beside ``path``, under a name of its own for each process."""
    name = f".{path.name}.{os.getpid()}.tmp"
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{os.getpid()}.tmp"
    return path.with_name(name)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 through :func:`atomic_path`; the undecodable bytes of odd file names become escapes."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def sync_folder(folder: Path) -> None:
    """Makes a renaming in ``folder`` survive a power cut, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open folders
        return
    with contextlib.suppress(OSError):  # the renaming has succeeded; some network file systems refuse to sync folders
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def stale_files(folder: Path) -> list[Path]:
    """The temporary files that killed writers left in ``folder`` (not in its sub-folders)."""
    return sorted(file for file in folder.glob(".*.tmp") if file.name.split(".")[-2].isdigit() and file.is_file())
