"""Training phases: which losses and which players are active in a round, and at what learning rate.

A round is one update of the generator, of the discriminator, or of both. Rounds are counted by the wrapper, because
Lightning's ``global_step`` counts every optimizer's steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from ..config import check_keys, check_types, choice_error
from ..errors import UserError
from ..value_types import NotNegative, OneOf, Positive, Range

Rounds = Annotated[int, Range(at_least=1, unit="rounds")]
#: ``losses`` in JSON.
Losses = Sequence[str] | Annotated[str, OneOf(("all",))]
RoundsOrNone = Annotated[int, Range(at_least=0, unit="rounds")]


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
        name: shown in tables and logs.
        steps: length in rounds; None for as long as the run lasts (last phase only).
        losses: entries of ``loss_configs`` that are active, ``bottleneck`` included; None for all.
        generator: the generator is trained.
        adversarial: the discriminator is trained and, where the generator is trained too, judges it. In JSON it is true
            by default if ``losses`` are all or name the discriminator.
        lr: the generator's learning rate; None for its optimizer's. The discriminator's follows in proportion.
        lr_warmup_steps: rounds of linear warm-up from the phase's start.
        lr_milestones: rounds from the phase's start at which the rate is multiplied by ``lr_gamma``.
        lr_gamma: factor at each milestone.
    """

    name: str
    steps: Rounds | None = None
    losses: tuple[str, ...] | None = None
    generator: bool = True
    adversarial: bool = True
    lr: Positive | None = None
    lr_warmup_steps: RoundsOrNone = 0
    lr_milestones: Sequence[RoundsOrNone] = ()
    lr_gamma: NotNegative = 0.5

    @property
    def sets_rate(self) -> bool:
        """Whether any key of the phase shapes the learning rate."""
        return self.lr is not None or self.lr_warmup_steps > 0 or bool(self.lr_milestones)

    def rate(self, base: float, position: int) -> float:
        """The generator's learning rate ``position`` rounds into the phase; ``base`` is its optimizer's.

        >>> phase = Phase("a", lr=1.0, lr_warmup_steps=4, lr_milestones=(10,))
        >>> [phase.rate(0.5, n) for n in (0, 1, 3, 9, 10)]
        [0.25, 0.5, 1.0, 1.0, 0.5]
        """
        rate = base if self.lr is None else self.lr
        if position < self.lr_warmup_steps:
            rate *= (position + 1) / self.lr_warmup_steps
        return rate * self.lr_gamma ** sum(position >= milestone for milestone in self.lr_milestones)


class Schedule:
    """The phases of a run in order.

    >>> schedule = Schedule([Phase("warm-up", steps=2), Phase("main")])
    >>> [schedule.at(n)[0].name for n in (0, 1, 2, 999)], schedule.total_steps
    (['warm-up', 'warm-up', 'main', 'main'], None)
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = tuple(phases)
        starts = [0]
        for phase in self.phases[:-1]:
            starts.append(starts[-1] + (phase.steps or 0))
        self.starts = tuple(starts)

    @property
    def total_steps(self) -> int | None:
        """Rounds of all phases together; None if the last one is open."""
        last = self.phases[-1].steps
        return None if last is None else self.starts[-1] + last

    @property
    def sets_rate(self) -> bool:
        return any(phase.sets_rate for phase in self.phases)

    def at(self, step: int) -> tuple[Phase, int]:
        """The phase of round ``step`` and the position in it; past the end the last phase goes on."""
        index = max(i for i, start in enumerate(self.starts) if step >= start)
        return self.phases[index], step - self.starts[index]

    @classmethod
    def from_config(cls, phases: object, entries: Sequence[str]) -> Schedule:
        """Checks ``training.phases``; ``entries`` are the names in ``loss_configs``.

        Without phases there is one open phase with every loss.

        Raises:
            UserError: an unknown key or entry, a wrong type, contradictory switches.
        """
        adversarial = "discriminator" in entries
        if phases is None:
            return cls([Phase("train", adversarial=adversarial)])
        if not isinstance(phases, Sequence) or isinstance(phases, str) or not phases:
            raise UserError("training.phases must be a list of at least one phase; leave it out for a single phase")
        parsed = [_phase(i, config, entries) for i, config in enumerate(phases)]
        for phase in parsed[:-1]:
            if phase.steps is None:
                raise UserError(f"phase '{phase.name}' needs steps: only the last phase may be open-ended")
        return cls(parsed)


def _phase(index: int, config: object, entries: Sequence[str]) -> Phase:
    where = f"training.phases[{index}]"
    if not isinstance(config, Mapping):
        raise UserError(f"{where} must be a JSON object")
    check_keys(where, config, [field.name for field in fields(Phase)])
    losses = _losses(where, config.get("losses", "all"), entries)
    named = entries if losses is None else losses
    values: dict[str, Any] = {"name": f"phase {index + 1}", "adversarial": "discriminator" in named, **config}
    values["losses"] = losses
    check_types(where, Phase, config, without=("losses",))
    values["lr_milestones"] = tuple(values.get("lr_milestones", ()))
    phase = Phase(**values)
    if not phase.generator and not phase.adversarial:
        raise UserError(f"{where} trains nothing: set generator or adversarial to true")
    if phase.adversarial and "discriminator" not in entries:
        raise UserError(
            f'{where}.adversarial is true, but loss_configs has no "discriminator"; add one or set it to false'
        )
    if losses is not None and phase.adversarial != ("discriminator" in losses):
        contradiction = (
            f'leaves "discriminator" out while {where}.adversarial is true; list it too'
            if phase.adversarial
            else f'lists "discriminator" while {where}.adversarial is false; drop it'
        )
        raise UserError(f"{where}.losses {contradiction}, or leave the key adversarial out")
    return phase


def _losses(where: str, losses: object, entries: Sequence[str]) -> tuple[str, ...] | None:
    if losses == "all":
        return None
    if isinstance(losses, str) or not isinstance(losses, Sequence):
        raise UserError(f'{where}.losses must be "all" or a list of entries of loss_configs, not {losses!r}')
    for name in losses:
        if name not in entries:
            raise choice_error(f"loss entry in {where}.losses", name, entries)
    return tuple(losses)
