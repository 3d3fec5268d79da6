"""Non-finite batches: skipped and counted, on every rank together; too many in a row stop the run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..checks import require_whole
from ..errors import UserError


def not_finite(values: Mapping[str, Tensor | float]) -> list[str]:
    """Names of the values that are NaN or infinite.

    >>> not_finite({"a": torch.tensor(float("nan")), "b": 1.0})
    ['a']
    """
    if not values:
        return []
    # Stacked where they are: each copy to the CPU would wait for the device.
    device = next((value.device for value in values.values() if isinstance(value, Tensor)), None)
    stacked = torch.stack([torch.as_tensor(v, dtype=torch.float32, device=device).detach() for v in values.values()])
    return [name for name, finite in zip(values, stacked.isfinite().tolist(), strict=True) if not finite]


class FaultCounter:
    """Counts skipped batches.

    Args:
        limit: skipped batches in a row that stop the run.
    """

    def __init__(self, limit: int) -> None:
        self.limit = require_whole("training.max_bad_batches", limit, at_least=1)
        self.total = 0
        self.in_a_row = 0

    def good(self) -> None:
        """A batch was used."""
        self.in_a_row = 0

    def bad(self, names: list[str], step: int) -> None:
        """A batch was skipped because of the values ``names``.

        Raises:
            UserError: the limit is reached.
        """
        self.total += 1
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            what = ", ".join(names) if names else "a value on another rank"
            raise UserError(
                f"stopped at round {step}: {self.in_a_row} batches in a row were not finite, first bad: {what}. The "
                "last good checkpoint is kept; check the data, lower the learning rate or set training.clip_grad_norm"
            )
