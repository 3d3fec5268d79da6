"""JSON configs: build objects from them, and name the close match when a key or a type is unknown.

Config keys are constructor arguments, so the constructor's signature is the schema.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, TypeVar, get_type_hints, is_typeddict

from .checks import refusal
from .errors import UserError
from .value_types import misfit

T = TypeVar("T")


def choice_error(what: str, given: object, choices: Iterable[str]) -> UserError:
    """Says that ``given`` is not a valid ``what``, which ones are, and which one is closest.

    >>> str(choice_error("weighting", "kk", ["k", "a", "none"]))
    "unknown weighting 'kk'; did you mean 'k'? Valid: a, k, none"
    """
    names = sorted(map(str, choices))
    # difflib compares characters, so fold the case and keep the threshold low: a wrong guess costs nothing.
    by_fold = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(given).lower(), by_fold, n=1, cutoff=0.5)
    hint = f"; did you mean '{by_fold[close[0]]}'?" if close else ";"
    return UserError(f"unknown {what} '{given}'{hint} Valid: {', '.join(names)}")


def check_choice(what: str, given: str, choices: Iterable[str]) -> str:
    """Returns ``given`` if it is one of ``choices``, else raises :class:`UserError`."""
    names = list(choices)
    if given not in names:
        raise choice_error(what, given, names)
    return given


def check_keys(what: str, config: Mapping[str, Any], valid: Iterable[str]) -> None:
    """Raises :class:`UserError` for the first key of ``config`` that is not in ``valid``."""
    names = list(valid)
    for key in config:
        if key not in names:
            raise choice_error(f"key in {what}", key, names)


def check_near_misses(what: str, config: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises :class:`UserError` for a key that is nearly one of ``known`` which is absent: others may be somebody's."""
    names = list(known)
    absent = [key for key in names if key not in config]
    for key in config:
        if key in names:
            continue
        if close := difflib.get_close_matches(key, absent, n=1, cutoff=0.8):
            raise UserError(f"unknown key in {what} '{key}'; did you mean '{close[0]}'?")


def _parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What ``factory`` takes. A class is asked for its ``__init__``: a ``__new__`` beside it may take anything."""
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    parameters = dict(inspect.signature(function).parameters)
    return {name: p for name, p in parameters.items() if not (isinstance(factory, type) and name == "self")}


def parameter_names(factory: Callable[..., Any], *, without: Iterable[str] = ()) -> list[str]:
    """The keyword arguments ``factory`` accepts, without ``self`` and those in ``without``."""
    hidden = {"self", *without}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, p in _parameters(factory).items() if p.kind in kinds and name not in hidden]


def required_names(factory: Callable[..., Any]) -> list[str]:
    """The keyword arguments without which ``factory`` cannot be called."""
    parameters = _parameters(factory)
    return [name for name in parameter_names(factory) if parameters[name].default is inspect.Parameter.empty]


def argument(factory: Callable[..., Any], config: Mapping[str, Any], name: str) -> Any:
    """What ``factory`` would take for ``name``: the value in ``config``, or its own default."""
    return config[name] if name in config else _parameters(factory)[name].default


def build(what: str, factory: Callable[..., T], config: Mapping[str, Any] | None, **injected: Any) -> T:
    """Calls ``factory(**injected, **config)`` after checking the keys of ``config``; the config is never written to.

    ``what`` names the place in the JSON for error messages. ``injected`` arguments come from the program and cannot be
    given in the JSON; those the factory does not take are left out.
    """
    config = {} if config is None else config
    if not isinstance(config, Mapping):
        raise UserError(f"{what} must be a JSON object, not {type(config).__name__}")
    kinds = {p.kind for p in _parameters(factory).values()}
    # A class without its own __init__ shows torch.nn.Module's (*args, **kwargs), which takes nothing.
    inherited = kinds == {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    accepts_any = inspect.Parameter.VAR_KEYWORD in kinds and not inherited
    if not accepts_any:
        check_keys(what, config, parameter_names(factory, without=injected))
        injected = {k: v for k, v in injected.items() if k in parameter_names(factory)}
    missing = [name for name in required_names(factory) if name not in injected and name not in config]
    if missing:
        raise UserError(f"{what} needs the key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    check_types(what, factory, config)
    return factory(**injected, **config)


def check_types(what: str, types: object, config: Mapping[str, Any], without: Iterable[str] = ()) -> None:
    """Raises :class:`UserError` for the first value of ``config`` that is not what the annotations say.

    Args:
        what: the place in the JSON.
        types: what has the annotations: a function, a class (its constructor's are meant), or a ``TypedDict``.
        config: the object.
        without: keys that are not judged.
    """
    annotations = value_types(types)
    for key, value in config.items():
        if key in annotations and key not in without and (wrong := misfit(value, annotations[key])):
            where = f"{what}.{key}" if what else key
            if wrong.choices:
                raise choice_error(where + wrong.where, wrong.value, wrong.choices)
            raise refusal(where, wrong)


class TypedEntry(TypedDict, total=False):
    """An object whose ``type`` names a factory, and whose ``config`` holds its arguments."""

    type: str
    config: Mapping[str, Any] | None


def check_section(what: str, section: type, config: object) -> Mapping[str, Any]:
    """Returns ``config`` if it is an object with the keys and values of the ``TypedDict`` ``section``.

    Raises:
        UserError: it is none, has another key, or a value of another kind.
    """
    types = value_types(section)
    if not isinstance(config, Mapping):
        raise UserError(f"{what} must be an object with {' and '.join(types)}, not {config!r:.80}")
    check_keys(what, config, types)
    check_types(what, section, config)
    return config


def value_types(of: object) -> dict[str, Any]:
    """Name → annotation of what a function or a constructor takes, or of a ``TypedDict``'s keys."""
    function = of.__init__ if isinstance(of, type) and not is_typeddict(of) else of  # type: ignore[misc]
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # somebody else's, with names that are imported for a type checker only
        return {}
