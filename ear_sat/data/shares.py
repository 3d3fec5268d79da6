"""Which file an item of an epoch is taken from, so that every source has its share of the crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Shares:
    """Deals the items of an epoch out to the files.

    Without weights every file has as many items as any other. With weights every source has its share of the items,
    whatever its number of files, but at least one; its files take turns, from one epoch to the next.

    Args:
        source_of: for each file the number of its source.
        weights: per source, None for unweighted; where at least one source has a weight, the others have 1.
        crops_per_file: items per file, on average over all files if there are weights.

    Attributes:
        groups: arrays of file numbers: one per source that has files, or a single one if there are no weights.
        ends: for each group the number of the item behind its last.

    >>> shares = Shares(np.array([0, 1, 1, 1]), [3.0, None], crops_per_file=2)
    >>> [shares.file_and_turn(item, epoch=0) for item in range(len(shares))]
    [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 0), (2, 0)]
    """

    def __init__(self, source_of: np.ndarray, weights: Sequence[float | None], crops_per_file: int) -> None:
        total = len(source_of) * crops_per_file
        if all(weight is None for weight in weights):
            self.groups = [np.arange(len(source_of))]
            self.ends = np.array([total])
            return
        present = [number for number in range(len(weights)) if (source_of == number).any()]
        self.groups = [np.flatnonzero(source_of == number) for number in present]
        summed = np.cumsum([1.0 if (weight := weights[number]) is None else weight for number in present])
        counts = np.diff(np.round(total * summed / summed[-1]).astype(np.int64), prepend=0)
        self.ends = np.cumsum(np.maximum(counts, 1))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def group_of(self, index: int) -> int:
        """The group of item ``index``."""
        return int(np.searchsorted(self.ends, index % len(self), side="right"))

    def file_and_turn(self, index: int, epoch: int) -> tuple[int, int]:
        """The file of item ``index`` ≥ 0 in ``epoch``, and how often that file had its turn before."""
        group = self.group_of(index)
        begin, end = (int(self.ends[group - 1]) if group else 0), int(self.ends[group])
        number = (end - begin) * (epoch + index // len(self)) + index % len(self) - begin
        files = self.groups[group]
        return int(files[number % len(files)]), number // len(files)
