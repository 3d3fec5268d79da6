"""Numbers, switches and paths from a JSON or a command line: checked, and refused in one sentence.

The sentence says the key, what is expected, and what came.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from .errors import UserError
from .files import expanded
from .value_types import Misfit, Range, misfit

Number = TypeVar("Number", int, float)


def require_number(
    name: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> float:
    """Returns ``value`` if it is a finite number within the bounds, else raises :class:`UserError`.

    Args:
        name: the key, as its user writes it.
        value: what came; true and false are no numbers.
        at_least, above, at_most, below: bounds; None for none.
        unit: of the number, for the sentence.

    >>> require_number("training.latent_mask_ratio", 0.5, at_least=0, at_most=1)
    0.5
    >>> require_number("log_floor_db", "low", below=0, unit="dB")
    Traceback (most recent call last):
    ear_sat.errors.UserError: log_floor_db must be a number of dB below 0, not 'low'
    """
    bounds = Range(at_least, above, at_most, below, unit)
    return _required(name, value, Annotated[float, bounds])  # type: ignore[no-any-return]


def require_whole(
    name: str, value: object, at_least: int | None = None, *, at_most: int | None = None, unit: str = ""
) -> int:
    """Returns ``value`` if it is a whole number within the bounds, else raises :class:`UserError`.

    >>> require_whole("batch_size", 4, at_least=1)
    4
    >>> require_whole("steps", 2.5, at_least=1, unit="rounds")
    Traceback (most recent call last):
    ear_sat.errors.UserError: steps must be a whole number of rounds of at least 1, not 2.5
    """
    bounds = Range(at_least=at_least, at_most=at_most, unit=unit)
    return _required(name, value, Annotated[int, bounds])  # type: ignore[no-any-return]


def require_flag(name: str, value: object) -> bool:
    """Returns ``value`` if it is true or false, else raises :class:`UserError`."""
    return _required(name, value, bool)  # type: ignore[no-any-return]


def _required(name: str, value: object, expected: Any) -> Any:
    if wrong := misfit(value, expected):
        raise refusal(name, wrong)
    return value


def refusal(name: str, wrong: Misfit) -> UserError:
    """The sentence about a value that does not fit: its key, what is expected, and what came."""
    return UserError(f"{name}{wrong.where} must be {wrong.expected}, not {wrong.value!r:.80}")


def require_path(name: str, value: object) -> Path:
    """Returns ``value`` as a path with ``~`` expanded; empty text, which would be the working folder, is refused.

    >>> require_path("datasets[0].path", "")
    Traceback (most recent call last):
    ear_sat.errors.UserError: datasets[0].path must be a path, not ''; the working folder is "."
    """
    if not isinstance(value, str | Path):
        raise UserError(f"{name} must be a path, not {value!r}")
    if value == "":
        raise UserError(f'{name} must be a path, not {value!r}; the working folder is "."')
    return expanded(value)


def number(*, at_least: float | None = None, above: float | None = None) -> Callable[[str], float]:
    """What :mod:`argparse` calls a flag's ``type``, with the bounds of :func:`require_number`.

    >>> number(above=0)("0.5")
    0.5
    """
    return partial(_argument, float, partial(require_number, "", at_least=at_least, above=above))


def whole(at_least: int | None = None, *, at_most: int | None = None) -> Callable[[str], int]:
    """The same with the bounds of :func:`require_whole`.

    >>> whole(1)("8")
    8
    """
    return partial(_argument, int, partial(require_whole, "", at_least=at_least, at_most=at_most))


def path_argument(text: str) -> Path:
    """The same for a path: an empty one, of a shell variable that is not set, would be the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path, not ''; the working folder is .")
    return Path(text)


def _argument(parse: Callable[[str], Number], check: Callable[[Any], Number], text: str) -> Number:
    try:
        return check(parse(text))
    except ValueError:  # no number, or one out of bounds
        pass
    try:
        return check(text)  # says what was typed
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).strip()) from None
