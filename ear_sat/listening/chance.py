"""Right answers of an ABX test against guessing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import binomtest

from .answers import Block


@dataclass(frozen=True)
class Outcome:
    """Some blocks together.

    Attributes:
        correct, trials: how many.
        p: chance of so many right answers or more by guessing, one-sided binomial.
        low, high: exact 95 % interval (Clopper and Pearson) of the share that is right.
    """

    correct: int
    trials: int
    p: float
    low: float
    high: float


def outcome(blocks: Iterable[Block]) -> Outcome:
    """Adds up blocks, of which there must be one.

    >>> found = outcome([Block("song", "codec", correct=12, trials=16)])
    >>> round(found.p, 4), round(found.low, 2), round(found.high, 2)
    (0.0384, 0.48, 0.93)
    """
    blocks = list(blocks)
    correct, trials = sum(block.correct for block in blocks), sum(block.trials for block in blocks)
    interval = binomtest(correct, trials).proportion_ci(0.95)
    p = float(binomtest(correct, trials, alternative="greater").pvalue)
    return Outcome(correct, trials, p, float(interval.low), float(interval.high))
