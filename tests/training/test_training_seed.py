"""What a batch draws: the same after a resume, another on every rank, in every round and batch of it."""

from __future__ import annotations

import random

import pytest
import torch

from ear_sat.training.round_seed import seed_batch


def drawn(seed: int = 3, rank: int = 0, rounds: int = 0, batch: int = 0) -> list[float]:
    seed_batch(seed, rank, rounds, batch)
    return [*torch.randn(3).tolist(), random.random()]


@pytest.mark.parametrize("change", [{"seed": 4}, {"rank": 1}, {"rounds": 1}, {"batch": 1}])
def test_each_batch_draws_its_own(change: dict[str, int]) -> None:
    first = drawn()
    assert drawn(**change) != first
    assert drawn() == first
