"""Which of a launcher's processes this is: torchrun's and SLURM's variables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from .errors import UserError

T = TypeVar("T")

#: Launcher → variables of rank, number of ranks, and rank on this machine. SLURM's batch script, which is one process,
#: has them too; only srun, which starts one per task, sets the variable of a step.
_SLURM_STEP = "SLURM_STEP_ID"
_VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "SLURM": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
}


@dataclass(frozen=True)
class Place:
    """This process among those that a launcher started: ``rank`` of ``size``, and its number on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launcher: str = ""

    def share(self, items: Iterable[T]) -> list[T]:
        """Every ``size``-th of ``items``, which all ranks must have in the same order.

        >>> Place(1, 3).share("abcdefg")
        ['b', 'e']
        """
        return list(islice(items, self.rank, None, self.size))


def find_place(environment: Mapping[str, str] | None = None) -> Place:
    """The place that torchrun's variables say, else SLURM's, else the only one.

    Raises:
        UserError: the variables are not whole numbers that go together.

    >>> find_place({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"})
    Place(rank=3, size=4, local_rank=0, launcher='SLURM')
    """
    environment = os.environ if environment is None else environment
    for launcher, (rank_name, size_name, local_name) in _VARIABLES.items():
        if rank_name not in environment or size_name not in environment:
            continue
        if launcher == "SLURM" and _SLURM_STEP not in environment:
            continue
        try:
            rank, size = int(environment[rank_name]), int(environment[size_name])
            local_rank = int(environment.get(local_name, "0"))
        except ValueError:
            rank, size, local_rank = 0, 0, 0
        if not 0 <= rank < size or local_rank < 0:
            raise UserError(
                f"{rank_name}={environment[rank_name]} and {size_name}={environment[size_name]} do not go together; "
                f"unset them, or start the command with {launcher}"
            )
        return Place(rank, size, local_rank, launcher)
    return Place()
