"""Tables of an ABX test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .answers import Answers, Block
from .chance import outcome
from .table import Table

COLUMNS = ("correct", "trials", "share", "low", "high", "p")
LEGEND = (
    "p: chance of so many right answers or more by guessing (one-sided binomial), of each row alone; low and high: "
    "exact 95 % interval of the share that is right"
)

Answer = tuple[str, Block]
"""Listener and block."""


def abx_tables(answers: Sequence[Answers]) -> tuple[list[Table], Table, list[str]]:
    """Tables, all finished pairs, and no notes."""
    found: list[Answer] = [(each.listener, block) for each in answers for block in each.blocks]
    tables = [
        _table("Systems", ("system",), found, lambda name, block: (block.system,), (LEGEND,)),
        _table("Listeners", ("system", "listener"), found, lambda name, block: (block.system, name)),
        _table("Clips", ("system", "clip"), found, lambda name, block: (block.system, block.clip)),
    ]
    columns = ("listener", "clip", "system")
    raw = _table("Pairs", columns, found, lambda name, block: (name, block.clip, block.system))
    return tables, raw, []


def _table(
    title: str,
    columns: tuple[str, ...],
    answers: Sequence[Answer],
    group: Callable[[str, Block], tuple[str, ...]],
    notes: tuple[str, ...] = (),
) -> Table:
    """One row for each group of answers, in alphabetical order."""
    groups: dict[tuple[str, ...], list[Block]] = {}
    for name, block in answers:
        groups.setdefault(group(name, block), []).append(block)
    return Table(
        title, (*columns, *COLUMNS), [[*key, *_cells(blocks)] for key, blocks in sorted(groups.items())], notes
    )


def _cells(blocks: Sequence[Block]) -> list[Any]:
    found = outcome(blocks)
    return [found.correct, found.trials, found.correct / found.trials, found.low, found.high, found.p]
