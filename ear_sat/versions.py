"""Versions of the software behind a result, to be kept beside it."""

from __future__ import annotations

import importlib.metadata
import platform


def versions(*packages: str) -> dict[str, str | None]:
    """Versions of Python and of the named distributions; None for one that is not installed.

    >>> list(versions("numpy", "no-such-package").items())[2]
    ('no-such-package', None)
    """
    return {"python": platform.python_version(), **{package: _version(package) for package in packages}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
