"""The order of an epoch: a permutation, another in every epoch, dealt out to the ranks."""

from __future__ import annotations

import pytest

from ear_sat.data import EpochSampler

ITEMS = range(12)


def epochs(count: int = 3, **settings: int) -> list[list[int]]:
    sampler = EpochSampler(ITEMS, **settings)
    return [list(sampler) for _ in range(count)]


def test_every_epoch_has_an_order_of_its_own() -> None:
    orders = epochs()
    assert all(sorted(order) == [*ITEMS] for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    assert epochs() == orders
    assert all(one != other for one, other in zip(epochs(seed=1), orders, strict=True))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_ranks_share_an_epoch(world_size: int) -> None:
    ranks = [epochs(rank=rank, world_size=world_size) for rank in range(world_size)]
    for epoch, order in enumerate(epochs()):
        dealt = [rank[epoch] for rank in ranks]
        assert [item for turn in zip(*dealt, strict=True) for item in turn] == order


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (1, 2), (3, 2), (2, 3)])
def test_another_number_of_ranks_goes_on_at_the_same_place(before: int, after: int) -> None:
    used = 6 // before
    running = EpochSampler(ITEMS, rank=0, world_size=before)
    running.count_used(used)
    rest = []
    for rank in range(after):
        resumed = EpochSampler(ITEMS, rank=rank, world_size=after)
        resumed.load_state_dict(running.state_dict())
        rest.append(list(resumed))
    assert [item for turn in zip(*rest, strict=True) for item in turn] == epochs(1)[0][6:]
