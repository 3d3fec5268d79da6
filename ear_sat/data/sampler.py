"""The order of the items in an epoch, for one or several ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Yields this rank's items of an epoch, in an order that is a function of (seed, epoch).

    All ranks draw the same order and take every ``world_size``-th item of it, so they are disjoint; what does not
    divide evenly is dropped, so they are of equal length. With ``shuffle`` each ``iter()`` begins the next epoch by
    itself and tells the data set (``dataset.set_epoch``). Without, the order is that of the data set and its epoch is
    left alone: every pass gives the same items, so that scores of a validation set can be compared.

    Args:
        dataset: the data set; ``set_epoch`` is called if it has one.
        shuffle: whether to draw a new order each epoch.
        seed: of the orders.
        at_least: items per rank and epoch; if the data set has fewer, its items come again.
        rank, world_size: by default those of ``torch.distributed``, if that is initialised, when an epoch begins.

    >>> [list(EpochSampler(range(5), shuffle=False, rank=rank, world_size=2)) for rank in (0, 1)]
    [[0, 2], [1, 3]]
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        shuffle: bool = True,
        seed: int = 0,
        at_least: int = 1,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("dataset must hold at least one item, not 0")
        if (rank is None) != (world_size is None):
            raise ValueError(f"rank and world_size go together, not {rank} and {world_size}")
        if rank is not None and world_size is not None and not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), not {rank}")
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.at_least = at_least
        self.epoch = 0  # the one that the next iter() begins
        self._place = None if rank is None or world_size is None else (rank, world_size)

    def _rank_and_size(self) -> tuple[int, int]:
        if self._place is not None:
            return self._place
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def __len__(self) -> int:
        return max(len(self.dataset) // self._rank_and_size()[1], self.at_least, 1)

    def __iter__(self) -> Iterator[int]:
        items, epoch = len(self.dataset), self.epoch
        if self.shuffle:
            set_epoch = getattr(self.dataset, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
            # Hashed, because torch's CPU generator looks at the lower 32 bits of its seed only.
            mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
            generator = torch.Generator().manual_seed(int(mixed[0]))
            order = torch.randperm(items, generator=generator).tolist()
        else:
            order = list(range(items))
        self.epoch = epoch + 1
        rank, world_size = self._rank_and_size()
        return iter([order[place % items] for place in range(rank, len(self) * world_size, world_size)])

    def set_epoch(self, epoch: int) -> None:
        """The next ``iter()`` begins ``epoch``; Lightning calls this."""
        self.epoch = int(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The epoch that comes next: after a resume in mid-epoch, the rest of that epoch is not read again."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.set_epoch(state["epoch"])
