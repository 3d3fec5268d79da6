"""What a figure was measured with: software, and the file as it was."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..versions import versions

PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "auraloss", "librosa", "soundfile", "soxr")
"""What the values of the metrics can depend on."""


@lru_cache(maxsize=1)
def measured_with() -> dict[str, str]:
    """Versions of Python, ear_sat and the libraries behind the metrics, and a digest of the code that measures."""
    found = {name: version or "none" for name, version in versions("ear_sat", *PACKAGES).items()}
    return {**found, "measuring code": _source_digest()}


def identity(path: Path) -> list[Any]:
    """Path, size and time of change of a file; of one that is not there its path."""
    try:
        status = path.stat()
    except OSError:  # if it has vanished since it was found, that is reported when it is read
        return [str(path), None, None]
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _source_digest() -> str:
    """Digest of all source between a file and its figures."""
    package = Path(__file__).parents[1]
    files = [*sorted(package.glob("*.py")), *sorted((package / "metrics").glob("*.py"))]
    files += [package / "data" / "reading.py", package / "data" / "mp3.py"]
    files += [package / "evaluate" / "loading.py", package / "evaluate" / "measure.py"]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
