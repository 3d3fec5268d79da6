"""The order of the items in an epoch, for one or several ranks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

logger = logging.getLogger(__name__)


class EpochSampler(Sampler[int]):
    """Yields this rank's items of an epoch, in an order that is a function of (seed, epoch).

    All ranks draw the same order and take every ``world_size``-th item of it, so they are disjoint; what does not
    divide evenly is dropped, so they are of equal length. With ``shuffle`` the data set is told the epoch
    (``dataset.set_epoch``). Without, the order is that of the data set and its epoch is left alone: every pass gives
    the same items, so that scores of a validation set can be compared.

    Each ``iter()`` begins the next epoch, until somebody calls :meth:`count_used`: a training that tells what it used,
    as opposed to what workers fetched ahead. From then on ``iter()`` goes on behind the items used, as often as it is
    called, and :meth:`state_dict` is the place from which a resumed run goes on.

    Args:
        dataset: the data set; ``set_epoch`` is called if it has one.
        shuffle: whether to draw a new order each epoch.
        seed: of the orders.
        batch_size: items per rank and epoch are a multiple of it; if the data set has fewer, its items come again.
            1 where partial batches are kept.
        rank, world_size: by default those of ``torch.distributed``, if that is initialised, when an epoch begins.

    >>> [list(EpochSampler(range(5), shuffle=False, rank=rank, world_size=2)) for rank in (0, 1)]
    [[0, 2], [1, 3]]
    >>> sampler = EpochSampler(range(6), shuffle=False, batch_size=2)
    >>> sampler.count_used(2)
    >>> list(sampler), list(sampler)
    ([2, 3, 4, 5], [2, 3, 4, 5])
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        shuffle: bool = True,
        seed: int = 0,
        batch_size: int = 1,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("dataset must hold at least one item, not 0")
        if (rank is None) != (world_size is None):
            raise ValueError(f"rank and world_size go together, not {rank} and {world_size}")
        if rank is not None and world_size is not None and not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), not {rank}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.batch_size = batch_size
        self.epoch = 0  # the one that the next iter() begins or goes on with
        self.used = 0  # this rank's items of that epoch that are done
        self._counts = False
        self._place = None if rank is None or world_size is None else (rank, world_size)

    def _rank_and_size(self) -> tuple[int, int]:
        if self._place is not None:
            return self._place
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def __len__(self) -> int:
        """This rank's items per epoch."""
        return max(len(self.dataset) // self._rank_and_size()[1] // self.batch_size, 1) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        items, epoch, used = len(self.dataset), self.epoch, self.used
        if not self._counts:
            self.epoch, self.used = epoch + 1, 0
        order = np.arange(items)
        if self.shuffle:
            set_epoch = getattr(self.dataset, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
            # Hashed, because torch's CPU generator looks at the lower 32 bits of its seed only.
            mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
            order = torch.randperm(items, generator=torch.Generator().manual_seed(int(mixed[0]))).numpy()
        rank, world_size = self._rank_and_size()
        places = np.arange(rank, len(self) * world_size, world_size)[used:]
        return map(int, order[places % items])

    def count_used(self, items: int) -> None:
        """Says that ``items`` more of this rank's items are done; an epoch ends when no full batch is left."""
        self._counts = True
        self.used += items
        if len(self) - self.used < self.batch_size:
            self.epoch, self.used = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """The next ``iter()`` begins ``epoch``. Lightning calls this; where items are counted, the count decides."""
        if not self._counts:
            self.epoch, self.used = int(epoch), 0

    def state_dict(self) -> dict[str, int]:
        """The place in the order: of the first item of this rank that is not yet done."""
        sizes = {"items": len(self.dataset), "world_size": self._rank_and_size()[1]}
        return {"epoch": self.epoch, "used": self.used, **sizes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to the place that ``state`` names; says so where another data set or number of ranks moves it."""
        self.epoch, self.used = int(state["epoch"]), int(state["used"])
        world_size = self._rank_and_size()[1]
        if state["items"] != len(self.dataset):
            logger.warning(
                "the data set has %d items and had %d before: the next epoch begins", len(self.dataset), state["items"]
            )
            self.epoch, self.used = self.epoch + 1, 0
        elif state["world_size"] != world_size:
            logger.warning(
                "%d processes read the data and were %d before: the epoch goes on at the same place, in other batches",
                world_size,
                state["world_size"],
            )
            self.used = self.used * state["world_size"] // world_size
        self._counts = True
        self.count_used(0)
