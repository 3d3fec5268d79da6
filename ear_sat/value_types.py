"""What a value in a JSON config may be: read off the annotation of the argument, or of the key, that takes it.

An annotation says the type; ``Annotated`` adds a :class:`Range` or the choices there are (:class:`OneOf`). The same
annotations check configs (:func:`misfit`) and make the JSON Schema of them (:func:`type_schema`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """Bounds of a number; None for none. ``unit`` is for the sentence."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    unit: str = ""

    def holds(self, number: float) -> bool:
        """Whether ``number`` lies within the bounds."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def in_words(self, kind: str) -> str:
        """What is expected: ``kind``, its unit and bounds.

        >>> Range(above=0, at_most=1).in_words("a number")
        'a number above 0 and at most 1'
        """
        words = {"of at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        bounds = " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)
        return " ".join(filter(None, [kind, f"of {self.unit}" if self.unit else "", bounds]))


@dataclass(frozen=True)
class OneOf:
    """The texts that a value can be."""

    choices: tuple[str, ...]


@dataclass(frozen=True)
class ArgumentsOf:
    """The object's keys are arguments of ``factory``, but those in ``without``, which the program gives."""

    factory: Any
    without: tuple[str, ...] = ()


#: A size, a rate or a number of things of which there must be one.
Size = Annotated[int, Range(at_least=1)]
#: A number of things that may be none.
Count = Annotated[int, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
#: Crops of one source in an epoch, whose order is held in memory.
Crops = Annotated[int, Range(at_least=1, at_most=100_000)]
#: Length of an STFT's window, and its hop as a fraction of it.
Window = Annotated[int, Range(at_least=4, unit="samples")]
HopFactor = Annotated[float, Range(above=0, at_most=1)]


class Misfit(NamedTuple):
    """Why a value does not fit.

    where: the place inside of it, such as ``[1]`` of a list; empty for the value itself.
    value: what stands there.
    expected: what should, in words.
    choices: the texts there are to choose from, if that is what is wrong.
    """

    where: str
    value: object
    expected: str
    choices: tuple[str, ...] = ()


def misfit(value: object, expected: Any) -> Misfit | None:
    """Why ``value``, from a JSON, is not what the annotation ``expected`` says; None if it is.

    Types that no JSON has, which come from the program, are not judged.

    >>> misfit([2, 4], Sequence[int])
    >>> misfit([2, 0], Sequence[Size])
    Misfit(where='[1]', value=0, expected='a whole number of at least 1', choices=())
    """
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Annotated:
        wrong = misfit(value, arguments[0]) or _out_of_bounds(value, arguments[0], arguments[1:])
        return wrong if wrong is None or wrong.where or wrong.choices else wrong._replace(expected=in_words(expected))
    if origin in (Union, UnionType):
        return _none_of(value, arguments)
    if _is(origin, Mapping):
        if isinstance(value, Mapping):
            return _first(((f".{key}", item) for key, item in value.items()), arguments[-1])
        return Misfit("", value, in_words(expected))
    if _is(origin, Sequence):
        fixed = origin is tuple and Ellipsis not in arguments
        if isinstance(value, list | tuple) and not (fixed and len(value) != len(arguments)):
            return _first(((f"[{i}]", item) for i, item in enumerate(value)), arguments[0])
        return Misfit("", value, in_words(expected))
    return None if _fits(value, expected) else Misfit("", value, in_words(expected))


def _fits(value: object, expected: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if expected is float:
        return number and -sys.float_info.max <= value <= sys.float_info.max  # type: ignore[operator] # NaN is not
    if expected is int:
        return number and isinstance(value, int)
    return isinstance(value, expected) if expected in (bool, str, NoneType) else True


def _is_of_json(kind: Any) -> bool:
    return kind in _WORDS or get_origin(kind) is not None


def _is(origin: Any, kind: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, kind)


def _first(items: Iterable[tuple[str, object]], expected: Any) -> Misfit | None:
    """The first misfit among named items."""
    for name, item in items:
        if wrong := misfit(item, expected):
            return wrong._replace(where=name + wrong.where)
    return None


def _out_of_bounds(value: object, kind: Any, marks: tuple[object, ...]) -> Misfit | None:
    for mark in marks:
        if isinstance(mark, Range) and not mark.holds(value):  # type: ignore[arg-type] # a number: it was asked first
            return Misfit("", value, mark.in_words(_WORDS[kind]))
        if isinstance(mark, OneOf) and value not in mark.choices:
            return Misfit("", value, f"one of {', '.join(mark.choices)}", mark.choices)
    return None


def _none_of(value: object, kinds: tuple[Any, ...]) -> Misfit | None:
    ours = [kind for kind in kinds if _is_of_json(kind)]
    wrongs = {i: misfit(value, kind) for i, kind in enumerate(ours)}
    if None in wrongs.values() or any(isinstance(value, kind) for kind in kinds if kind not in ours):
        return None
    # Where the value is of one of the types and out of its bounds, that one was meant.
    meant = [wrong for i, wrong in wrongs.items() if wrong and _is_meant(value, ours[i], wrong)]
    all_kinds = " or ".join(dict.fromkeys(map(in_words, ours)))
    return meant[0] if meant and not meant[0].choices else Misfit("", value, all_kinds)


def _is_meant(value: object, kind: Any, wrong: Misfit) -> bool:
    return bool(wrong.where) or (get_origin(kind) is Annotated and misfit(value, get_args(kind)[0]) is None)


#: What a JSON can hold, in words.
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
_PLURAL = {int: "whole numbers", float: "numbers", str: "texts"}


def in_words(expected: Any) -> str:
    """An annotation in words.

    >>> in_words(Sequence[int] | None)
    'a list of whole numbers or null'
    """
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Annotated:
        for mark in arguments[1:]:
            if isinstance(mark, Range):
                return mark.in_words(_WORDS[arguments[0]])
            if isinstance(mark, OneOf):
                return " or ".join(f'"{choice}"' for choice in mark.choices)
        return in_words(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(in_words, arguments)))
    if _is(origin, Mapping):
        return "an object"
    if _is(origin, Sequence):
        item = get_args(arguments[0])[0] if get_origin(arguments[0]) in (Annotated, Union, UnionType) else arguments[0]
        words = _PLURAL.get(item, "objects" if _is(get_origin(item), Mapping) else "values")
        return (
            f"a list of {len(arguments)} {words}"
            if origin is tuple and Ellipsis not in arguments
            else f"a list of {words}"
        )
    return _WORDS.get(expected, "of another type")
