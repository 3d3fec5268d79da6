"""Builds the discriminator of a loss config: ours, or whichever the installed host's own wrapper would build."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..config import build, check_keys, choice_error
from ..errors import UserError
from ..losses import check_weights
from ..models.discriminator import DISCRIMINATORS
from .host_types import branch_types

WEIGHT_KEYS = ("adversarial", "feature_matching")
#: What 0.0.19's wrapper cannot do without, as small as it gets; it is built and thrown away.
_SPECTRAL = {"config": {"fft_sizes": [64], "hop_sizes": [16], "win_lengths": [64]}, "weights": {"mrstft": 1.0}}


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
    theirs = host_discriminator_types()
    if kind not in theirs:
        raise choice_error("discriminator type", kind, [*DISCRIMINATORS, *theirs])
    try:
        return _host_discriminator(str(kind), dict(config.get("config") or {}), sample_rate, channels)
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        raise UserError(f"{where}.config does not fit the host's type '{kind}': {error}") from error
    except (NameError, ImportError) as error:
        # stable-audio-tools 0.0.19: "big_vgan" refers to a class, DiscriminatorCQT, that the package does not define.
        raise UserError(
            f"the installed stable-audio-tools cannot build its own type '{kind}' ({error}); use another"
        ) from error


def host_discriminator_types() -> list[str]:
    """The types of the installed host; the only place that knows them is its wrapper's constructor."""
    return branch_types(_wrapper_class().__init__, "['discriminator']['type']")


def _wrapper_class() -> Any:
    from stable_audio_tools.training.autoencoders import AutoencoderTrainingWrapper

    return getattr(AutoencoderTrainingWrapper, "_ear_sat_original", AutoencoderTrainingWrapper)


def _host_discriminator(kind: str, config: dict[str, Any], sample_rate: int, channels: int) -> nn.Module:
    """What the host's wrapper builds around an autoencoder that is nothing but a channel count."""
    stand_in = types.SimpleNamespace(
        in_channels=channels, out_channels=channels, latent_dim=1, bottleneck=None, pretransform=None
    )
    weights = dict.fromkeys(WEIGHT_KEYS, 1.0)
    losses = {
        "discriminator": {"type": kind, "config": config, "weights": weights},
        "spectral": _SPECTRAL,
        "time": {"type": "l1", "config": {}, "weights": {}},
    }
    wrapper = _wrapper_class()(stand_in, sample_rate=sample_rate, loss_config=losses, use_ema=False)
    discriminator: nn.Module = wrapper.discriminator
    return discriminator
