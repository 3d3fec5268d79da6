"""Builds the discriminator of a loss config: ours, or one of the host's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..config import build, check_keys, choice_error
from ..errors import UserError
from ..losses import check_weights
from ..models.discriminator import DISCRIMINATORS

WEIGHT_KEYS = ("adversarial", "feature_matching")


def _host_discriminators(sample_rate: int, channels: int) -> dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]]:
    """The host's types with the arguments its own wrapper injects."""
    from stable_audio_tools.models import discriminators as host

    return {
        "oobleck": (host.OobleckDiscriminator, {}),
        "encodec": (host.EncodecDiscriminator, {"in_channels": channels}),
        "dac": (host.DACGANLoss, {"channels": channels, "sample_rate": sample_rate}),
        "big_vgan": (host.BigVGANDiscriminator, {"channels": channels, "sample_rate": sample_rate}),
    }


def create_discriminator(config: Mapping[str, Any], sample_rate: int, channels: int) -> nn.Module:
    """The discriminator of ``{"type", "config", "weights"}`` for audio with ``channels`` channels.

    Raises:
        UserError: an unknown type or key.
    """
    where = "loss_configs.discriminator"
    if not isinstance(config, Mapping):
        raise UserError(f"{where} must be an object with type, config and weights")
    check_keys(where, config, ("type", "config", "weights"))
    check_weights("discriminator", config.get("weights"), WEIGHT_KEYS)
    kind = config.get("type")
    if kind in DISCRIMINATORS:
        return build(f"{where}.config", DISCRIMINATORS[kind], config.get("config"), in_channels=channels)
    theirs = _host_discriminators(sample_rate, channels)
    if kind not in theirs:
        raise choice_error("discriminator type", kind, [*DISCRIMINATORS, *theirs])
    factory, injected = theirs[kind]
    try:
        return factory(**injected, **(config.get("config") or {}))
    except TypeError as error:
        raise UserError(f"{where}.config does not fit the host's type '{kind}': {error}") from error
    except NameError as error:
        # stable-audio-tools 0.0.19: "big_vgan" refers to a class, DiscriminatorCQT, that the package does not define.
        raise UserError(
            f"the installed stable-audio-tools cannot build its own type '{kind}' ({error}); use another"
        ) from error
