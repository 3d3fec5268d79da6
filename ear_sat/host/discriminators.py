"""The host's discriminators, built as its own training wrapper builds them."""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UserError
from ..training.discriminators import WEIGHT_KEYS
from ..training.players import Discriminator
from .compat.wrapping import ORIGINAL
from .host_types import branch_types

#: What 0.0.19's wrapper cannot do without, as small as it gets; it is built and thrown away.
_SPECTRAL = {"config": {"fft_sizes": [64], "hop_sizes": [16], "win_lengths": [64]}, "weights": {"mrstft": 1.0}}


def host_discriminators() -> dict[str, Callable[[Mapping[str, Any], int, int], Discriminator]]:
    """Type → maker; the only place that knows the types of the installed host is its wrapper's constructor."""
    kinds = branch_types(_wrapper_class().__init__, "['discriminator']['type']")
    return {kind: functools.partial(_create, kind) for kind in kinds}


def _wrapper_class() -> Any:
    from stable_audio_tools.training.autoencoders import AutoencoderTrainingWrapper

    return getattr(AutoencoderTrainingWrapper, ORIGINAL, AutoencoderTrainingWrapper)


def _create(kind: str, config: Mapping[str, Any], sample_rate: int, channels: int) -> Discriminator:
    """What the host's wrapper builds around an autoencoder that is nothing but a channel count.

    Raises:
        UserError: the host cannot build it, or not with this config.
    """
    stand_in = types.SimpleNamespace(
        in_channels=channels, out_channels=channels, latent_dim=1, bottleneck=None, pretransform=None
    )
    weights = dict.fromkeys(WEIGHT_KEYS, 1.0)
    losses = {
        # The host takes keys out of what it is given.
        "discriminator": {"type": kind, "config": copy.deepcopy(dict(config)), "weights": weights},
        "spectral": _SPECTRAL,
        "time": {"type": "l1", "config": {}, "weights": {}},
    }
    try:
        wrapper = _wrapper_class()(stand_in, sample_rate=sample_rate, loss_config=losses, use_ema=False)
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        raise UserError(f"loss_configs.discriminator.config does not fit the host's type '{kind}': {error}") from error
    except (NameError, ImportError) as error:
        # stable-audio-tools 0.0.19: "big_vgan" refers to a class, DiscriminatorCQT, that the package does not define.
        raise UserError(
            f"the installed stable-audio-tools cannot build its own type '{kind}' ({error}); use another"
        ) from error
    discriminator: Discriminator = wrapper.discriminator
    return discriminator
