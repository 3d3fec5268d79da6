"""What the engine can build beside its own types and torch's. A host adds its own when it registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from .players import Discriminator


class Registered(NamedTuple):
    """An optimizer or a scheduler of another package.

    create: called with the parameters (or the optimizer) and the settings.
    signature: whose arguments the settings must be; None where that is not known before it is built.
    """

    create: Callable[[Any, Mapping[str, Any]], Any]
    signature: Callable[..., Any] | None = None


OPTIMIZERS: dict[str, Registered] = {}
SCHEDULERS: dict[str, Registered] = {}
#: Discriminator type → its maker, called with the entry's ``config``, the sample rate and the channel count.
DISCRIMINATORS: dict[str, Callable[[Mapping[str, Any], int, int], Discriminator]] = {}
#: Key of ``eval_loss_configs`` → maker of the metric, called with its config and the sample rate.
METRICS: dict[str, Callable[[Mapping[str, Any], int], Callable[[Tensor, Tensor], Any]]] = {}
