"""JSON Schema of values and objects, made of the annotations by which configs are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, is_typeddict

from .config import parameter_names, required_names, value_types
from .value_types import ArgumentsOf, OneOf, Range

Schema = dict[str, Any]
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}
#: Keyword → the bound of a :class:`.value_types.Range` that it is.
_BOUNDS = {"minimum": "at_least", "exclusiveMinimum": "above", "maximum": "at_most", "exclusiveMaximum": "below"}


def type_schema(expected: Any) -> Schema:
    """The schema of a value with this annotation; empty for what no JSON can hold.

    >>> type_schema(Annotated[float, Range(above=0, at_most=1)] | None)
    {'anyOf': [{'type': 'number', 'exclusiveMinimum': 0, 'maximum': 1}, {'type': 'null'}]}
    """
    origin, arguments = get_origin(expected), get_args(expected)
    if is_typeddict(expected):
        return object_schema(value_types(expected))
    if origin is Annotated:
        schema = type_schema(arguments[0])
        for mark in arguments[1:]:
            schema |= _mark_schema(mark)
        return schema
    if origin in (Union, UnionType):
        return {"anyOf": [schema for kind in arguments if (schema := type_schema(kind))]}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = type_schema(arguments[-1])
        return {"type": "object", "additionalProperties": items} if items else {"type": "object"}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return {"type": "array", "items": type_schema(arguments[0])}
    return {"type": _TYPES[expected]} if expected in _TYPES else {}


def _mark_schema(mark: object) -> Schema:
    if isinstance(mark, Range):
        bounds = {keyword: getattr(mark, bound) for keyword, bound in _BOUNDS.items()}
        return {keyword: bound for keyword, bound in bounds.items() if bound is not None}
    if isinstance(mark, OneOf):
        return {"enum": list(mark.choices)}
    return arguments_schema(mark.factory, mark.without) if isinstance(mark, ArgumentsOf) else {}


def object_schema(properties: Mapping[str, Any], required: Iterable[str] = (), others: bool = False) -> Schema:
    """An object with these keys; ``others``: and any others."""
    schema: Schema = {"type": "object", "properties": {key: type_schema(kind) for key, kind in properties.items()}}
    if needed := list(required):
        schema["required"] = needed
    return schema if others else {**schema, "additionalProperties": False}


def arguments_schema(factory: Callable[..., Any], without: Iterable[str] = ()) -> Schema:
    """An object whose keys are the arguments of ``factory``, without those that the program gives."""
    types, names = value_types(factory), parameter_names(factory, without=without)
    required = [name for name in required_names(factory) if name in names]
    return object_schema({name: types.get(name) for name in names}, required)


def where(key: str, value: str, then: Schema) -> Schema:
    """A condition: objects whose ``key`` is ``value`` must be as ``then`` says."""
    return {"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


def typed_schema(entry: Any, kinds: Mapping[str, Callable[..., Any]], given: Iterable[str] = ()) -> Schema:
    """An object ``{"type", "config", …}`` whose ``config`` belongs to its ``type``; types of others have any config.

    Args:
        entry: the ``TypedDict`` of its keys.
        kinds: type → factory.
        given: arguments that the program gives.
    """
    settings = {
        kind: {"anyOf": [arguments_schema(factory, given), {"type": "null"}]} for kind, factory in kinds.items()
    }
    cases = [where("type", kind, {"properties": {"config": config}}) for kind, config in settings.items()]
    return {**object_schema(value_types(entry), required=["type"]), "allOf": cases}
