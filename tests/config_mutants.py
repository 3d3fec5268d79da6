"""Configs made wrong, one place at a time, drawn from a seed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
#: What stands in a value's place; these two take the key out, and misspell it.
ABSENT, RENAMED = "absent", "renamed"
NUMBERS = [0, 1, -1, 0.5, 10**9, float("inf"), float("nan")]
WRONG = [ABSENT, RENAMED, None, True, *NUMBERS, "", "1", "k", [], [0], {}, {"a": 1}]


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """Every place in a config."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*here, key)
        yield from paths(below, (*here, key))


def mutated(config: Any, path: Path, wrong: Any) -> Any:
    """A copy with ``wrong`` at ``path``."""
    config = copy.deepcopy(config)
    parent = config
    for key in path[:-1]:
        parent = parent[key]
    if wrong in (ABSENT, RENAMED):
        value = parent.pop(path[-1])
        if wrong == RENAMED and isinstance(parent, dict):
            parent[f"{path[-1]}_"] = value
    else:
        parent[path[-1]] = wrong
    return config


def mutants(config: Any, count: int, seed: int) -> Iterator[tuple[str, Any]]:
    """``count`` mutants with what was done to them; every place is among them if there are enough."""
    places = list(paths(config))
    rng = random.Random(seed)
    for i in range(count):
        place, wrong = places[i] if i < len(places) else rng.choice(places), rng.choice(WRONG)
        yield f"{'.'.join(map(str, place))} = {wrong!r}", mutated(config, place, wrong)
