"""Whether the optimizers of a checkpoint are those of a config: states of others load, in part or mixed, in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from ...errors import UserError

#: Where a checkpoint names the classes.
KEY = "optimizer_types"
#: What they add to a group.
_OF_SCHEDULERS = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr"}


def type_names(optimizers: Sequence[Optimizer]) -> list[str]:
    """Names of their classes."""
    return [type(optimizer).__name__ for optimizer in optimizers]


def check_optimizers(configured: Any, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Checks that states of ``checkpoint`` go into the optimizers of this training.

    Args:
        configured: what ``configure_optimizers`` returns, in any of Lightning's forms.
        checkpoint: of a training; ours name the classes, of others the settings of their groups tell most apart.
        path: its file, for the message.

    Raises:
        UserError: other classes, or another number of trained parameters.
    """
    remedy = "use the model config of its run, or start a new run from its weights with --pretrained-ckpt-path"
    built = _optimizers(configured)
    saved, now = checkpoint.get(KEY), type_names(built)
    states = [_groups(state, path) for state in _list(checkpoint.get("optimizer_states"), path)]
    if saved not in (None, now) or len(states) != len(now):
        before = saved if isinstance(saved, list) and saved != now else f"{len(states)} optimizer(s)"
        raise UserError(f"{path} was trained with {_words(before)}, and this config has {_words(now)}; {remedy}")
    for name, optimizer, theirs in zip(now, built, states, strict=True):
        ours = optimizer.param_groups
        # A later torch only adds settings; another class has some of its own and lacks some.
        if any(_differ(*groups) for groups in zip(ours, theirs, strict=False)):
            raise UserError(f"{path} was trained with another optimizer than this config's {name}; {remedy}")
        trained, trains = (sum(len(group["params"]) for group in side) for side in (theirs, ours))
        if trained != trains:
            raise UserError(
                f"{path} was trained with {trained} parameters under {name}, and this config trains {trains}: "
                f"requires_grad may differ; {remedy}"
            )


def _differ(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return bool(ours.keys() - theirs.keys() and theirs.keys() - ours.keys() - _OF_SCHEDULERS)


def _words(names: object) -> str:
    return " and ".join(map(str, names)) if isinstance(names, list) else str(names)


def _list(value: object, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{path} is damaged: its optimizer states are no lists; use an earlier checkpoint")
    return value


def _groups(state: object, path: Path) -> list[Any]:
    groups = _list(state.get("param_groups") if isinstance(state, Mapping) else None, path)
    for group in groups:
        _list(group.get("params") if isinstance(group, Mapping) else None, path)
    return groups


def _optimizers(configured: Any) -> list[Optimizer]:
    if isinstance(configured, Optimizer):
        return [configured]
    if isinstance(configured, Mapping):
        return [configured["optimizer"]]
    if configured and isinstance(configured[0], list | tuple):  # optimizers and schedulers
        configured = configured[0]
    return [optimizer for one in configured or () for optimizer in _optimizers(one)]
