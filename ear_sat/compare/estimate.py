"""How long a run will take, from a few rounds of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from .curves import read_course
from .plan import Plan, Variant
from .training import Run, settings_of, train_run

ROUNDS = 6
WARM_UP = 2
"""In the first rounds memory is laid out: they do not count."""


def estimate_seconds(plan: Plan, variant: Variant, folder: Path, device: str) -> float:
    """Seconds of training of one run: a few rounds are trained in ``folder``.

    Raises:
        UserError: the variant cannot be trained.
    """
    settings = variant.settings
    if settings.minutes is not None and settings.rounds is None:
        return 60 * settings.minutes
    run = Run(variant.name, variant.settings.seeds[0], folder)
    short = replace(variant, settings=replace(settings, rounds=ROUNDS, minutes=None))
    if why := train_run(run, settings_of(plan, short), device):
        raise UserError(f"variant {variant.name}: {why}")
    each = read_course(run).round_times[WARM_UP:]
    assert settings.rounds is not None
    seconds = settings.rounds * sum(each) / len(each)
    return min(seconds, 60 * settings.minutes) if settings.minutes else seconds
