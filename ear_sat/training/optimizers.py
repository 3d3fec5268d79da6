"""The two optimizers: building them, their rates over the phases, their schedulers and their gradient clipping."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, TypedDict

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

from ..checks import require_number
from ..config import TypedEntry, check_keys, check_section, check_types, choice_error, parameter_names, value_types
from ..errors import REFUSALS, UserError
from . import registry
from .phases import Phase, Schedule
from .players import Trainable
from .registry import Registered

PLAYERS = ("generator", "discriminator")
#: The host's names of the two in ``optimizer_configs``.
CONFIG_NAMES = {"generator": "autoencoder", "discriminator": "discriminator"}
#: AdamW, betas 0.5 and 0.9, rate 3e-4: the paper's.
DEFAULT_BETAS = (0.5, 0.9)
DEFAULT_RATE = 3e-4


class OptimizerEntry(TypedDict, total=False):
    """One of ``optimizer_configs``; the types are class names of torch's, or of a host's.

    Keys:
        optimizer: ``{"type": "AdamW", "config": {…}}``.
        scheduler: likewise, such as ``"InverseLR"`` of the host; it excludes learning rates in ``phases``.
    """

    optimizer: TypedEntry
    scheduler: TypedEntry


class OptimizerPair(NamedTuple):
    """The generator's and the discriminator's optimizer; the latter None without a discriminator."""

    generator: LightningOptimizer | Optimizer
    discriminator: LightningOptimizer | Optimizer | None


#: What ``configure_optimizers`` may return: optimizers, with their schedulers where there are any.
LightningOptimizers: TypeAlias = list[Optimizer] | tuple[list[Optimizer], list[lr_scheduler.LRScheduler]]
#: What ``LightningModule.optimizers()`` returns: one, or a list of them.
Wrapped: TypeAlias = LightningOptimizer | Optimizer | Sequence[LightningOptimizer | Optimizer]


#: What ``LightningModule.lr_schedulers()`` returns.
Schedulers: TypeAlias = lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau | list[Any] | None


class Optimizers:
    """Recipe of both optimizers.

    Args:
        configs: the host's ``optimizer_configs``: ``autoencoder`` and ``discriminator``, each with ``optimizer`` and
            optionally ``scheduler`` (``{"type", "config"}``); None for AdamW with the paper's betas.
        rate: learning rate where ``configs`` is None; ``training.learning_rate``.
        clip_grad_norm: largest gradient norm, one number or ``{"generator", "discriminator"}``; 0 for no clipping.
    """

    def __init__(
        self,
        configs: Mapping[str, Any] | None = None,
        rate: float | None = None,
        clip_grad_norm: float | Mapping[str, float] = 0.0,
    ) -> None:
        if configs is None:
            adamw = {"type": "AdamW", "config": {"lr": rate or DEFAULT_RATE, "betas": list(DEFAULT_BETAS)}}
            configs = {"autoencoder": {"optimizer": adamw}, "discriminator": {"optimizer": adamw}}
        check_keys("training.optimizer_configs", configs, CONFIG_NAMES.values())
        for name, config in configs.items():
            check_keys(f"training.optimizer_configs.{name}", config, value_types(OptimizerEntry))
        self.configs = configs
        if isinstance(clip_grad_norm, Mapping):
            check_keys("training.clip_grad_norm", clip_grad_norm, PLAYERS)
            self.clip_norms = {player: clip_grad_norm.get(player, 0.0) for player in PLAYERS}
        else:
            self.clip_norms = dict.fromkeys(PLAYERS, clip_grad_norm)
        for norm in self.clip_norms.values():
            require_number("training.clip_grad_norm (0: no clipping)", norm, at_least=0)
        self._phase_rates = False
        self._base: dict[str, list[float]] = {}

    def build(self, autoencoder: Trainable, discriminator: Trainable | None, schedule: Schedule) -> LightningOptimizers:
        """Optimizers, and schedulers where the config has them, as Lightning expects them."""
        modules: dict[str, Trainable | None] = {"generator": autoencoder, "discriminator": discriminator}
        self._phase_rates = schedule.sets_rate
        optimizers, schedulers = [], []
        for player, module in modules.items():
            if module is None:
                continue
            config = self.configs.get(CONFIG_NAMES[player])
            if config is None or "optimizer" not in config:
                raise UserError(f'training.optimizer_configs needs "{CONFIG_NAMES[player]}" with an "optimizer"')
            trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
            if not trained:
                raise UserError(f"the {player} has no trainable parameter; set requires_grad to true somewhere")
            where = f"training.optimizer_configs.{CONFIG_NAMES[player]}"
            parameters = trained if _wants_names(config["optimizer"]) else [p for _, p in trained]
            optimizer = _create(f"{where}.optimizer", _optimizer_types(), config["optimizer"], parameters)
            for group in optimizer.param_groups:
                require_number(f"{where}.optimizer.config.lr", float(group["lr"]), above=0)
            self._base[player] = [group["lr"] for group in optimizer.param_groups]
            optimizers.append(optimizer)
            if "scheduler" in config:
                if self._phase_rates:
                    raise UserError(f"{where} has a scheduler and training.phases set rates; drop one of the two")
                schedulers.append(_create(f"{where}.scheduler", _scheduler_types(), config["scheduler"], optimizer))
        if schedulers and len(schedulers) != len(optimizers):
            raise UserError("give both optimizers a scheduler or neither")
        return (optimizers, schedulers) if schedulers else optimizers

    @staticmethod
    def pair(optimizers: Wrapped) -> OptimizerPair:
        """What ``LightningModule.optimizers()`` returned, as a pair."""
        if isinstance(optimizers, Optimizer | LightningOptimizer):
            return OptimizerPair(optimizers, None)
        return OptimizerPair(*optimizers) if len(optimizers) == 2 else OptimizerPair(optimizers[0], None)

    def set_rates(self, optimizers: Wrapped, phase: Phase, position: int) -> None:
        """Sets all rates for a round of ``phase``; each keeps its ratio to that of the generator's first group."""
        if not self._phase_rates:
            return
        first = self._base["generator"][0]
        rate = phase.rate(first, position)
        for player, optimizer in zip(PLAYERS, self.pair(optimizers), strict=True):
            if optimizer is not None:
                for group, base in zip(optimizer.param_groups, self._base[player], strict=True):
                    group["lr"] = rate * base / first

    def rates(self, optimizers: Wrapped) -> dict[str, float]:
        """Current learning rate of each player."""
        pair = self.pair(optimizers)
        return {p: o.param_groups[0]["lr"] for p, o in zip(PLAYERS, pair, strict=True) if o is not None}

    def step_schedulers(self, schedulers: Schedulers, generator: bool, discriminator: bool) -> None:
        """Advances the schedulers of the players that were updated."""
        if schedulers is None:
            return
        listed = schedulers if isinstance(schedulers, list) else [schedulers]
        for scheduler, active in zip(listed, (generator, discriminator), strict=False):
            if active:
                scheduler.step()

    def clip(self, players: Mapping[str, Trainable | None], scale: float) -> dict[str, Tensor]:
        """Clips the gradients in place and returns ``grad_norm/…`` before clipping.

        Args:
            players: by name, those that are updated; None for one that is not.
            scale: the loss scale that fp16 gradients carry; the norms are returned without it.
        """
        norms: dict[str, Tensor] = {}
        for player, module in players.items():
            if module is None:
                continue
            gradients = [p for p in module.parameters() if p.grad is not None]
            limit = self.clip_norms[player] or float("inf")
            norms[f"grad_norm/{player}"] = torch.nn.utils.clip_grad_norm_(gradients, limit * scale) / scale
        return norms


def _wants_names(config: object) -> bool:
    """The host's MuonAdamW finds fused layers by their names, and ignores the patterns where it gets none."""
    settings = config.get("config") if isinstance(config, Mapping) else None
    return isinstance(settings, Mapping) and "fused_layer_patterns" in settings


def _torch_types(module: ModuleType, base: type) -> dict[str, Registered]:
    found = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    types = {n: cls for n, cls in found.items() if isinstance(cls, type) and issubclass(cls, base) and cls is not base}
    return {name: Registered(functools.partial(_call, cls), cls) for name, cls in types.items()}


def _call(cls: Callable[..., Any], subject: Any, settings: Mapping[str, Any]) -> Any:
    return cls(subject, **settings)


def _optimizer_types() -> dict[str, Registered]:
    return {**_torch_types(torch.optim, torch.optim.Optimizer), **registry.OPTIMIZERS}


def _scheduler_types() -> dict[str, Registered]:
    return {**_torch_types(lr_scheduler, lr_scheduler.LRScheduler), **registry.SCHEDULERS}


def _create(where: str, known: Mapping[str, Registered], config: object, subject: Any) -> Any:
    """The optimizer or scheduler of ``config`` for parameters or an optimizer, after checking type and keys."""
    entry = check_section(where, TypedEntry, config)
    kind, settings = str(entry.get("type")), entry.get("config") or {}
    if kind not in known:
        raise choice_error(f"type in {where}", kind, known)
    create, signature = known[kind]
    if signature is not None:
        check_keys(f"{where}.config", settings, parameter_names(signature, without=("params", "optimizer")))
        check_types(f"{where}.config", signature, settings)
    try:
        return create(subject, settings)
    except ImportError as error:
        raise UserError(f"{where}: the type {kind} needs a package that is not installed ({error})") from error
    except REFUSALS as error:
        raise UserError(f"{where}: {kind} refuses its config {dict(settings)} ({error})".replace(" ()", "")) from error
