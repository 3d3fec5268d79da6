"""Changes and differences of JSON configs by dotted paths, ``training.loss_configs.magnitude.config.weighting``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .config import choice_error
from .errors import UserError

ABSENT = object()
"""Stands for a value that is not there."""


def set_value(config: Any, path: str, value: object) -> None:
    """Sets what is at ``path``; lists are indexed from 0, and only the last key may be new.

    >>> config = {"a": {"b": [1, 2]}}
    >>> set_value(config, "a.b.1", 3)
    >>> set_value(config, "a.c", "new")
    >>> config
    {'a': {'b': [1, 3], 'c': 'new'}}

    Raises:
        UserError: there is no such place.
    """
    *parents, last = path.split(".")
    parent = _walk(config, parents)
    parent[_key(parent, last, new=True)] = value


def remove(config: Any, path: str) -> None:
    """Removes what is at ``path``.

    Raises:
        UserError: there is nothing.
    """
    *parents, last = path.split(".")
    parent = _walk(config, parents)
    del parent[_key(parent, last)]


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Paths at which two JSON values differ, with both values.

    >>> list(differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}))
    [('b.c', 2, 3)]
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *(k for k in theirs if k not in ours)]:
            below = f"{path}.{key}" if path else key
            yield from differences(ours.get(key, ABSENT), theirs.get(key, ABSENT), below)
    elif ours != theirs:
        yield path, ours, theirs


def _key(parent: Any, name: str, new: bool = False) -> Any:
    if isinstance(parent, list):
        if not name.isdigit() or int(name) >= len(parent):
            raise UserError(f"'{name}' is not an index of a list of {len(parent)}")
        return int(name)
    if name not in parent and not new:
        raise choice_error("key", name, parent)
    return name


def _walk(config: Any, path: list[str]) -> Any:
    for name in path:
        config = config[_key(config, name)]
        if not isinstance(config, dict | list):
            raise UserError(f"'{name}' is a value, not an object; nothing can be set below it")
    return config
