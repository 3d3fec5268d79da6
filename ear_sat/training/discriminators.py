"""Builds the discriminator of a loss config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from ..config import build, check_keys, check_types, choice_error, value_types
from ..errors import UserError
from ..losses import check_weights
from ..models.discriminator import DISCRIMINATORS
from . import registry
from .players import Discriminator

WEIGHT_KEYS = ("adversarial", "feature_matching")


class DiscriminatorEntry(TypedDict, total=False):
    """The keys of ``loss_configs.discriminator``."""

    type: str
    config: Mapping[str, Any] | None
    weights: Mapping[str, float]


def create_discriminator(config: Mapping[str, Any], sample_rate: int, channels: int) -> Discriminator:
    """The discriminator of ``{"type", "config", "weights"}`` for audio with ``channels`` channels.

    Raises:
        UserError: an unknown type or key.
    """
    where = "loss_configs.discriminator"
    if not isinstance(config, Mapping):
        raise UserError(f"{where} must be an object with type, config and weights")
    check_keys(where, config, value_types(DiscriminatorEntry))
    check_types(where, DiscriminatorEntry, config)
    check_weights("discriminator", config.get("weights"), WEIGHT_KEYS)
    kind = config.get("type")
    if kind in DISCRIMINATORS:
        return build(f"{where}.config", DISCRIMINATORS[kind], config.get("config"), in_channels=channels)
    if kind not in registry.DISCRIMINATORS:
        raise choice_error("discriminator type", kind, [*DISCRIMINATORS, *registry.DISCRIMINATORS])
    return registry.DISCRIMINATORS[kind](config.get("config") or {}, sample_rate, channels)
