"""Finished pairs on disk, found again by what they were made of: a second run measures only what is missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..files import make_folder, stale_files, write_text
from ..versions import versions
from .measure import PairResult, measure_pair
from .pairing import Pair

PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "auraloss", "librosa", "soundfile", "soxr")
"""What the values of the metrics can depend on."""


class ResultCache:
    """A folder of one JSON file per pair.

    The key holds path, size and modification time of both files, the settings, the versions of the libraries and a
    digest of the metrics' source. Failures are not kept: the next run tries them again.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = dict(settings)
        make_folder(folder)
        for file in stale_files(folder):
            file.unlink(missing_ok=True)

    def path(self, pair: Pair) -> Path:
        """The file that holds, or would hold, the result of ``pair``."""
        key = {
            "pair": [pair.file, pair.system],
            "files": [_identity(pair.reference), _identity(pair.estimate)],
            "settings": self.settings,
            "versions": measured_with(),
        }
        return self.folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.json"

    def read(self, pair: Pair) -> PairResult | None:
        """The finished result, or None if there is none or its file is damaged."""
        try:
            return PairResult.from_json(json.loads(self.path(pair).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None


def measure_and_keep(pair: Pair, align: bool, path: Path) -> PairResult:
    """:func:`measure_pair`, the result written to ``path`` unless it failed. Runs in a worker process."""
    result = measure_pair(pair, align)
    if result.error is None:
        write_text(path, json.dumps(result.to_json()))
    return result


@lru_cache(maxsize=1)
def measured_with() -> dict[str, str]:
    """Versions of Python, ear_sat and the libraries behind the metrics, and a digest of the code that measures."""
    found = {name: version or "none" for name, version in versions("ear_sat", *PACKAGES).items()}
    return {**found, "measuring code": _source_digest()}


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


def _identity(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError:  # vanished since it was found: it will be reported when it is read
        return [str(path), None, None]
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
