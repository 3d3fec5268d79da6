"""Numbers, switches and paths from a JSON or a command line: checked, and refused in one sentence.

The sentence says the key, what is expected, and what came.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from .errors import UserError

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
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    within = (
        -sys.float_info.max <= number <= sys.float_info.max  # refuses NaN too
        and (at_least is None or number >= at_least)
        and (above is None or number > above)
        and (at_most is None or number <= at_most)
        and (below is None or number < below)
    )
    if not within:
        bounds = {"of at least": at_least, "above": above, "at most": at_most, "below": below}
        raise _refusal(name, value, "a number", unit, bounds)
    return number


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
    if not isinstance(value, int) or isinstance(value, bool):
        within = False
    else:
        within = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    if not within:
        raise _refusal(name, value, "a whole number", unit, {"of at least": at_least, "at most": at_most})
    return value  # type: ignore[return-value]


def require_flag(name: str, value: object) -> bool:
    """Returns ``value`` if it is true or false, else raises :class:`UserError`."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, not {value!r}")
    return value


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
    return Path(value).expanduser()


def require_type(name: str, value: object, expected: Any) -> None:
    """Raises :class:`UserError` if ``value``, from a JSON, is none of the type ``expected``, an annotation.

    Types that no JSON has, which come from the program, are not judged.

    >>> require_type("decoder.config.strides", [2, 4], Sequence[int])
    >>> require_type("encoder.config.use_snake", "false", bool)
    Traceback (most recent call last):
    ear_sat.errors.UserError: encoder.config.use_snake must be true or false, not 'false'
    """
    if not _fits(value, expected):
        raise UserError(f"{name} must be {_in_words(expected)}, not {value!r:.80}")


#: What a JSON can hold, in words.
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def _fits(value: object, expected: Any) -> bool:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(item, arguments[-1]) for item in value.values())
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected in (bool, str, type(None)):
        return isinstance(value, expected)
    return True


def _in_words(expected: Any) -> str:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_in_words, arguments)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "an object"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        plural = {int: "a list of whole numbers", float: "a list of numbers", str: "a list of texts"}
        return plural.get(arguments[0], "a list of objects" if _in_words(arguments[0]) == "an object" else "a list")
    return _WORDS.get(expected, "of another type")


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


def _refusal(name: str, value: object, kind: str, unit: str, bounds: dict[str, float | None]) -> UserError:
    given = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    expected = f"{kind} of {unit}" if unit else kind
    return UserError(f"{name} must be {' '.join([expected, ' and '.join(given)]).rstrip()}, not {value!r}")
