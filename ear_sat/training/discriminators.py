"""Builds the discriminator of a loss config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ..config import TypedEntry, build, check_section, choice_error
from ..errors import UserError
from ..losses import check_weights
from ..models.discriminator import DISCRIMINATORS
from ..value_types import Positive
from . import registry
from .combined import CombinedDiscriminator, named_members
from .players import Discriminator

WEIGHT_KEYS = ("adversarial", "feature_matching")
#: The type that runs several as one.
COMBINED = "combined"


class DiscriminatorEntry(TypedEntry, total=False):
    """The keys of ``loss_configs.discriminator``.

    Keys:
        type: ``ear_mrstft``, ``combined`` or one of the host's.
        config: its constructor's arguments.
        weights: ``adversarial`` and ``feature_matching`` in the generator's loss.
    """

    weights: Mapping[str, float]


class MemberEntry(TypedEntry, total=False):
    """The keys of one of several discriminators.

    Keys:
        type: as above, but not ``combined``.
        config: its constructor's arguments.
        weight: of its losses in the sum; 1 by default.
    """

    weight: Positive


class CombinedConfig(TypedDict, total=False):
    """``config`` of the type ``combined``.

    Keys:
        discriminators: the members, whose weighted losses are added up.
    """

    discriminators: Sequence[Mapping[str, Any]]


def is_ours(kind: object) -> bool:
    """Whether a discriminator of type ``kind`` is built here, its members perhaps by a host."""
    return kind == COMBINED or kind in DISCRIMINATORS


def needs_host(entry: Mapping[str, Any]) -> bool:
    """Whether a discriminator entry, or a member of it, has a type that is not ours."""
    if entry.get("type") != COMBINED:
        return entry.get("type") not in DISCRIMINATORS
    config = entry.get("config")
    members = config.get("discriminators") if isinstance(config, Mapping) else None
    listed = members if isinstance(members, Sequence) else []
    return any(isinstance(member, Mapping) and needs_host(member) for member in listed)


def create_discriminator(config: Mapping[str, Any], sample_rate: int, channels: int) -> Discriminator:
    """The discriminator of ``{"type", "config", "weights"}`` for audio with ``channels`` channels.

    Raises:
        UserError: an unknown type or key.
    """
    where = "loss_configs.discriminator"
    check_section(where, DiscriminatorEntry, config)
    check_weights("discriminator", config.get("weights"), WEIGHT_KEYS)
    if config.get("type") == COMBINED:
        return _combined(f"{where}.config", config.get("config") or {}, sample_rate, channels)
    return _single(where, "discriminator type", config, sample_rate, channels)


def _single(where: str, what: str, entry: Mapping[str, Any], sample_rate: int, channels: int) -> Discriminator:
    kind = entry.get("type")
    if kind in DISCRIMINATORS:
        return build(f"{where}.config", DISCRIMINATORS[kind], entry.get("config"), in_channels=channels)
    if kind not in registry.DISCRIMINATORS:
        raise choice_error(what, kind, [*DISCRIMINATORS, *registry.DISCRIMINATORS, COMBINED])
    return registry.DISCRIMINATORS[kind](entry.get("config") or {}, sample_rate, channels)


def _combined(where: str, config: Mapping[str, Any], sample_rate: int, channels: int) -> Discriminator:
    check_section(where, CombinedConfig, config)
    entries = config.get("discriminators")
    if not entries:
        raise UserError(
            f'{where}.discriminators must list the members, each as {{"type": "ear_mrstft", "weight": 1.0}}'
        )
    parts = []
    for i, entry in enumerate(entries):
        place = f"{where}.discriminators[{i}]"
        check_section(place, MemberEntry, entry)
        if entry.get("type") == COMBINED:
            raise UserError(f'{place} is of type "{COMBINED}" itself; list its members beside the others instead')
        member = _single(place, f"discriminator type in {place}", entry, sample_rate, channels)
        parts.append((str(entry["type"]), float(entry.get("weight", 1.0)), member))
    return CombinedDiscriminator(named_members(parts))
