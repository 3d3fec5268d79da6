"""The randomness of a batch, drawn from the run's seed, the rank and the round: a resumed run draws the same."""

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


def seed_batch(seed: int, rank: int, rounds: int, batch: int) -> None:
    """Seeds torch, on every device, and ``random`` for a batch of the round after ``rounds`` finished ones.

    Demos and validation draw between the batches. Nothing in training draws from numpy's global generator.

    Args:
        seed: of the run.
        rank: of the process.
        rounds: finished rounds.
        batch: 0 for the first of the batches that are accumulated in the round.
    """
    mixed = mixed_seed(seed, rank, rounds, batch)
    torch.manual_seed(mixed)
    random.seed(mixed)
