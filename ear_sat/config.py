"""JSON configs: read them, build objects from them, and name the close match when a key or a type is unknown.

Config keys are constructor arguments, so the constructor's signature is the schema.
"""

from __future__ import annotations

import codecs
import difflib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from .checks import require_type
from .errors import UserError

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
    required = [
        name
        for name, p in _parameters(factory).items()
        if p.default is inspect.Parameter.empty
        and p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        and name not in injected
    ]
    missing = [name for name in required if name not in config]
    if missing:
        raise UserError(f"{what} needs the key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    check_types(what, factory, config)
    return factory(**injected, **config)


def check_types(what: str, factory: Callable[..., Any], config: Mapping[str, Any]) -> None:
    """Raises :class:`UserError` for the first value of ``config`` that is none of the type ``factory`` takes."""
    types = _annotations(factory)
    for key, value in config.items():
        if key in types:
            require_type(f"{what}.{key}", value, types[key])


def _annotations(factory: Callable[..., Any]) -> dict[str, Any]:
    """Name → type of what ``factory`` takes; empty where its annotations cannot be told."""
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # names that are imported for a type checker only; a partial
        return {}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    config = dict(pairs)
    if len(config) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f'the key "{twice}" stands twice in one object, and only the last would count; drop one')
    return config


def _refuse_constant(name: str) -> float:
    raise UserError(f"{name} is not a number that JSON has; give a finite one")


def load_json(path: str | Path) -> dict[str, Any]:
    """Reads a JSON object from ``path``, in UTF-8 or, as some editors save it, with a byte order mark or in UTF-16.

    Raises:
        UserError: the file is missing, is not JSON (with line and column), or is not an object; a key stands twice in
            one object, or a number is NaN or infinite.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        config = json.loads(
            data.decode(encoding), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except FileNotFoundError:
        raise UserError(
            f"no such file: {path}; give the path of a JSON config, or a name that `ear-sat config --list` shows"
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; save it as UTF-8") from None
    except (OSError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold a JSON object, not a {type(config).__name__}")
    return config
