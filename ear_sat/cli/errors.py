"""Turns :class:`ear_sat.UserError` into one line and exit code 1."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..caches import ensure_caches
from ..errors import AssumptionWarning, UserError
from .console import tolerant


def _user_error(error: BaseException | None) -> UserError | None:
    """The UserError in the chain of causes."""
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


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
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        # Data loader workers and Lightning wrap errors; what the user can mend is still inside.
        inner = _user_error(error)
        lines = str(error).strip().splitlines()
        if inner is None and lines and "ear_sat.errors.UserError" in str(error):
            inner = UserError(lines[-1].split("UserError: ", 1)[-1])
        if inner is None:
            raise
        print(f"error: {inner}", file=sys.stderr)
        return 1
