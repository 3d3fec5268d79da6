"""Folders for what libraries keep between runs, where the user has no home for them: containers, clusters, services."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

#: numba (librosa's) cannot be imported without a folder, torch's compiler asks for the name of a user that may have
#: none, matplotlib warns.
VARIABLES = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "MPLCONFIGDIR")
_PREFIX = "ear_sat-caches-"


def ensure_caches() -> None:
    """Gives these libraries a temporary folder where the home cannot be written; it goes when this process ends.

    What is set in the environment stays, and processes started from here use the same folder.
    """
    folder = cache_folder()
    # librosa cannot be imported by a user whose home is not known.
    missing = [name for name in (*VARIABLES, *([] if folder else ["XDG_CACHE_HOME"])) if not os.environ.get(name)]
    if not missing or (folder is not None and _writable(folder)):
        return
    made = tempfile.mkdtemp(prefix=_PREFIX)  # readable by this user only: there is code in it
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    for name in missing:
        os.environ[name] = str(Path(made, name.lower()))


def cache_folder() -> Path | None:
    """The user's own; None where the user has no home."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(chosen or "~/.cache").expanduser()
    except RuntimeError:
        return None
    return None if folder.parent.name.startswith(_PREFIX) else folder


def _writable(folder: Path) -> bool:
    """Whether the folder can be written, or made."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
    except OSError:
        return False
    return folder.is_dir() and os.access(folder, os.W_OK)
