"""Hands the types of the installed host to the training engine: optimizers, schedulers, discriminators and metrics."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..training import registry
from ..training.registry import Registered
from .discriminators import host_discriminators
from .host_types import branch_types

#: 0.0.20's own optimizers.
_OPTIMIZERS = "stable_audio_tools.training.optims"


def hand_over() -> None:
    """Fills the engine's registries; calling it again is free."""
    from stable_audio_tools.training import utils

    own = importlib.import_module(_OPTIMIZERS) if importlib.util.find_spec(_OPTIMIZERS) else None
    for name in branch_types(utils.create_optimizer_from_config, "optimizer_type"):
        # A class that the host imports only when asked for it is not known before.
        signature = getattr(own, name, None)
        registry.OPTIMIZERS[name] = Registered(partial(_create, utils.create_optimizer_from_config, name), signature)
    for name in branch_types(utils.create_scheduler_from_config, "['type']"):
        signature = getattr(utils, name, None)
        registry.SCHEDULERS[name] = Registered(partial(_create, utils.create_scheduler_from_config, name), signature)
    registry.DISCRIMINATORS.update(host_discriminators())
    registry.METRICS.update({"pesq": _pesq, "stft": _stft, "sisdr": _sisdr, "mel": _mel})


def _create(factory: Callable[[Any, Any], Any], kind: str, subject: Any, settings: Mapping[str, Any]) -> Any:
    return factory({"type": kind, "config": settings}, subject)


def _pesq(config: Mapping[str, Any], sample_rate: int) -> Callable[[Tensor, Tensor], Any]:
    try:
        from stable_audio_tools.training.losses import PESQMetric
    except ImportError:  # it went with 0.0.20; PESQ is a measure of telephone speech
        raise UserError(
            "the installed stable-audio-tools has no PESQ any more; take pesq out of training.eval_loss_configs"
        ) from None
    metric: Callable[[Tensor, Tensor], Any] = PESQMetric(sample_rate)
    return metric


def _stft(config: Mapping[str, Any], sample_rate: int) -> Callable[[Tensor, Tensor], Any]:
    from stable_audio_tools.training.losses import auraloss

    metric: torch.nn.Module = auraloss.STFTLoss(**config)
    return metric


def _mel(config: Mapping[str, Any], sample_rate: int) -> Callable[[Tensor, Tensor], Any]:
    from stable_audio_tools.training.losses import auraloss

    metric: torch.nn.Module = auraloss.MelSTFTLoss(sample_rate, **config)
    return metric


def _sisdr(config: Mapping[str, Any], sample_rate: int) -> Callable[[Tensor, Tensor], Any]:
    from stable_audio_tools.training.losses import auraloss

    negative = auraloss.SISDRLoss(**config)
    return lambda preds, target: -negative(preds, target)
