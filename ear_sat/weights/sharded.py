"""Weights in several files, with an index of which key lies where, as the Hugging Face libraries split large models."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UserError
from ..json_file import load_json

INDEX = ".index.json"
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")


def read_index(path: Path) -> dict[str, Path]:
    """Key → file of an index such as ``model.safetensors.index.json``; the files lie beside it.

    Raises:
        UserError: not an index, or a file is missing.
    """
    places = load_json(path).get("weight_map")
    named = isinstance(places, dict) and all(isinstance(name, str) and name for name in places.values())
    if not named or not places or any(Path(name).name != name for name in places.values()):
        raise UserError(f"{path} is not an index of weights: it needs a weight_map of keys to names of files beside it")
    missing = [name for name in sorted(set(places.values())) if not (path.parent / name).is_file()]
    if missing:
        raise UserError(f"{path} names {missing[0]}, which is not beside it; get all parts of the model")
    return {key: path.parent / name for key, name in places.items()}


def whole_of(path: Path) -> Path:
    """The index that ``path`` is a part of; ``path`` itself where it is not a part of several.

    Raises:
        UserError: a part without its index.
    """
    match = _PART.fullmatch(path.name)
    if match is None or int(match[2]) == 1:
        return path
    index = path.with_name(f"{match[1]}{match[3]}{INDEX}")
    if not index.is_file():
        raise UserError(f"{path} is one of {int(match[2])} parts; put the others and {index.name} beside it")
    return index
