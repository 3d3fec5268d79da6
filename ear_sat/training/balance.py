"""``training.balance``: weights by which each entry's gradient at the decoder's output keeps its share of their sum.

The balancer of EnCodec (Défossez et al., 2022, section 3.4), measured every so many rounds instead of in each: between
two measurements the factors are constants, so that a round costs what it costs without.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, TypedDict

from ..config import check_section, choice_error
from ..errors import UserError
from ..losses import LossBundle
from ..value_types import OneOf, Positive, Size
from .phases import Phase, Schedule

#: By which an average forgets from one round to the next; EnCodec's ``ema_decay``.
DECAY = 0.999


class BalanceSection(TypedDict, total=False):
    """The keys of ``training.balance``.

    Keys:
        type: ``"gradient"``, the only one there is.
        every: rounds between two measurements; 100 by default.
        shares: entry of ``loss_configs`` → its share of the gradients' sum; any positive numbers, in proportion.
    """

    type: Annotated[str, OneOf(("gradient",))]
    every: Size
    shares: Mapping[str, Positive]


class GradientBalance:
    """Averages of the entries' gradient norms, and the factors that follow from them.

    Args:
        shares: entry of ``loss_configs`` → its share; they count in proportion among the entries that are active.
        every: rounds between measurements.

    >>> balance = GradientBalance({"magnitude": 0.75, "correlation": 0.25}, every=10)
    >>> balance.factors(["magnitude", "correlation"])
    {}
    >>> balance.add({"magnitude": 3.0, "correlation": 5.0}, rounds=0)
    >>> balance.factors(["magnitude", "correlation", "time"])  # norms of 6 and 2
    {'magnitude': 2.0, 'correlation': 0.4}
    """

    def __init__(self, shares: Mapping[str, float], every: int = 100) -> None:
        self.shares, self.every = dict(shares), every
        self._decay = DECAY**every
        #: Entry → sum of its norms and of their weights in the average.
        self._sums: dict[str, list[float]] = {}
        self._last: int | None = None

    def due(self, rounds: int, active: Collection[str]) -> list[str]:
        """The entries to measure in round ``rounds``: so many after the last time, or where one has no norm yet."""
        shared = [name for name in self.shares if name in active]
        waiting = any(name not in self._sums for name in shared)
        return shared if waiting or self._last is None or rounds - self._last >= self.every else []

    def factors(self, active: Collection[str]) -> dict[str, float]:
        """What the weights of each entry are multiplied with; entries that are not named keep theirs.

        The norms of the active entries that have a share then have their shares of a sum that is what it was.
        """
        norms = {name: self._sums[name][0] / self._sums[name][1] for name in self.shares if name in self._sums}
        norms = {name: norm for name, norm in norms.items() if name in active and norm > 0}
        whole, shares = sum(norms.values()), sum(self.shares[name] for name in norms)
        return {name: self.shares[name] / shares * whole / norm for name, norm in norms.items()}

    def add(self, norms: Mapping[str, float], rounds: int) -> None:
        """Takes the norms that round ``rounds`` measured, with the config's weights; not finite ones are left out."""
        measured = {name: norm for name, norm in norms.items() if norm < float("inf")}
        for name, norm in measured.items():
            total, weight = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = [self._decay * total + norm, self._decay * weight + 1]
        if measured:
            self._last = rounds

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {name: list(sums) for name, sums in self._sums.items()}, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What an entry has of a share that is new it learns in the next round."""
        self._sums = {name: list(sums) for name, sums in state.get("sums", {}).items() if name in self.shares}
        self._last = state.get("last")

    @classmethod
    def from_config(
        cls, config: object, bundle: LossBundle, adversarial_weights: Mapping[str, float] | None, schedule: Schedule
    ) -> GradientBalance | None:
        """Checks ``training.balance``; None where there is none.

        Args:
            config: the JSON section.
            bundle: the reconstruction terms.
            adversarial_weights: of the discriminator; None without one.
            schedule: phases.

        Raises:
            UserError: an unknown key or entry, a wrong value, or shares that can have no effect.
        """
        if config is None:
            return None
        where = "training.balance"
        config = check_section(where, BalanceSection, config)
        if config.get("type") != "gradient":
            raise choice_error(f"{where}.type", config.get("type"), ["gradient"])
        weights: dict[str, Mapping[str, float]] = {name: entry.weights for name, entry in bundle.entries.items()}
        if adversarial_weights is not None:
            weights["discriminator"] = {key: weight for key, weight in adversarial_weights.items() if weight != 0}
        shares = config.get("shares") or {}
        _check_shares(f"{where}.shares", shares, weights)
        if not any(sum(_in_phase(name, phase) for name in shares) > 1 for phase in schedule.phases):
            raise UserError(f"{where}.shares balances nothing: no phase has two of its entries; name two or more")
        return cls(shares, config.get("every", 100))


def _check_shares(where: str, shares: Mapping[str, float], weights: Mapping[str, Mapping[str, float]]) -> None:
    for name in shares:
        if name == "bottleneck":
            raise UserError(
                f"{where}.bottleneck: it does not act on the decoder's output and keeps its weight; drop it"
            )
        if name not in weights:
            raise choice_error(f"entry in {where}", name, weights)
        if not weights[name]:
            raise UserError(f"{where}.{name}: all weights of loss_configs.{name} are 0; give it one, or drop its share")


def _in_phase(name: str, phase: Phase) -> bool:
    if name == "discriminator":
        return phase.generator and phase.adversarial
    return phase.generator and (phase.losses is None or name in phase.losses)


def active_entries(bundle: LossBundle, phase: Phase, rounds: int, discriminator: bool) -> list[str]:
    """The entries that pull at the decoder's output in round ``rounds``; ``discriminator``: whether there is one."""
    started = [name for name, entry in bundle.entries.items() if entry.weights and rounds >= entry.start_step]
    return [name for name in (*started, *(["discriminator"] if discriminator else [])) if _in_phase(name, phase)]
