"""The randomness of a round, drawn anew from the run's seed, the rank and the round: a resumed run draws the same."""

from __future__ import annotations

import random

import numpy as np
import torch


def mixed_seed(*numbers: int) -> int:
    """One seed of 64 bits from several numbers of at least 0, of which a change in any gives unrelated random numbers.

    >>> len({mixed_seed(seed, rank, rounds) for seed in (0, 1) for rank in (0, 1) for rounds in (0, 1)})
    8
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def seed_round(seed: int, rank: int, rounds: int) -> None:
    """Seeds torch, on every device, and ``random`` for the round after ``rounds`` finished ones."""
    mixed = mixed_seed(seed, rank, rounds)
    torch.manual_seed(mixed)
    random.seed(mixed)
