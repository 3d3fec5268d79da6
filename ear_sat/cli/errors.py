"""Turns :class:`ear_sat.UserError` into one line and exit code 1."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from ..caches import ensure_caches
from ..errors import AssumptionWarning, sentence_of
from .console import tolerant

#: Environment variable: anything but nothing and 0 shows the traceback of a user's error, too.
DEBUG = "EAR_SAT_DEBUG"


class _Debug(argparse.Action):
    """Sets :data:`DEBUG`, so that it reaches the processes that are started from here."""

    def __call__(self, *_: object) -> None:
        os.environ[DEBUG] = "1"


def add_debug(parser: argparse.ArgumentParser) -> None:
    """The flag ``--debug``, which puts nothing into the namespace."""
    parser.add_argument(
        "--debug",
        action=_Debug,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help=f"show the traceback of an error, too (or set {DEBUG}=1)",
    )


def _show_warning(original: Callable[..., None]) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, AssumptionWarning):  # meant for the user, who did not write the line it points to
            print(f"note: {message}", file=sys.stderr)
        else:
            original(message, category, *rest, **more)

    return show


def run(main: Callable[[], int | None]) -> int:
    """Calls ``main`` and returns the exit code; only a bug shows a traceback."""
    ensure_caches()
    with tolerant():
        return _run(main)


def _run(main: Callable[[], int | None]) -> int:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning(warnings.showwarning)
            return main() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        if os.environ.get(DEBUG, "0") not in ("", "0"):
            traceback.print_exc()
        print(f"error: {sentence}", file=sys.stderr)
        return 1
