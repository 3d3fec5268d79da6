"""Builds the training wrapper from a model config's ``training`` section."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..checks import require_flag, require_number, require_whole
from ..config import check_keys, choice_error, parameter_names
from ..errors import UserError
from ..losses import LossBundle, check_weights
from ..models import VAEBottleneck
from .discriminators import create_discriminator
from .optimizers import Optimizers
from .phases import Schedule
from .players import Autoencoder, Discriminator
from .validation import Validation
from .wrapper import EarTrainingWrapper

#: Keys of ``training`` of type "ear" that are read here; the others are arguments of the wrapper under the same name.
_READ_HERE = (
    "type",
    "learning_rate",
    "optimizer_configs",
    "clip_grad_norm",
    "loss_configs",
    "phases",
    "use_ema",
    "ema",
    "eval_loss_configs",
    "demo",
)
#: What the wrapper is given built.
_BUILT = (
    "autoencoder",
    "bundle",
    "optimizers",
    "schedule",
    "discriminator",
    "adversarial_weights",
    "bottleneck_weights",
    "validation",
    "ema_copy",
    "ema_config",
)


def create_wrapper(
    autoencoder: Autoencoder, sample_rate: int, training: Mapping[str, Any], ema_copy: Autoencoder | None = None
) -> EarTrainingWrapper:
    """The wrapper for ``training`` of type "ear".

    Args:
        autoencoder: the built model.
        sample_rate: Hz.
        training: the JSON section; never written to.
        ema_copy: a second model of the same config for the moving average; a deep copy of ``autoencoder`` if None.

    Raises:
        UserError: any key, type, name or number in the section that cannot be right.
    """
    settings = parameter_names(EarTrainingWrapper, without=_BUILT)
    check_keys("training", training, [*_READ_HERE, *settings])
    loss_configs = training.get("loss_configs")
    if not isinstance(loss_configs, Mapping) or not loss_configs:
        raise UserError("training.loss_configs is missing; name at least one loss term")
    _check_values(training)
    channels = autoencoder.out_channels
    bundle = LossBundle.from_config(loss_configs, sample_rate)
    discriminator: Discriminator | None = None
    if "discriminator" in loss_configs:
        discriminator = create_discriminator(loss_configs["discriminator"], sample_rate, channels)
    if training.get("use_ema", False) and ema_copy is None:
        ema_copy = copy.deepcopy(autoencoder)
    wrapper = EarTrainingWrapper(
        autoencoder,
        bundle,
        Optimizers(
            training.get("optimizer_configs"), training.get("learning_rate"), training.get("clip_grad_norm", 0.0)
        ),
        Schedule.from_config(training.get("phases"), list(loss_configs)),
        discriminator=discriminator,
        adversarial_weights=loss_configs.get("discriminator", {}).get("weights"),
        bottleneck_weights=_bottleneck_weights(autoencoder, loss_configs.get("bottleneck")),
        validation=Validation(training.get("eval_loss_configs") or {}, sample_rate),
        ema_copy=ema_copy if training.get("use_ema", False) else None,
        ema_config=training.get("ema"),
        **{key: training[key] for key in settings if key in training},
    )
    wrapper.configure_optimizers()  # Lightning asks for them later; what is wrong with them is said now.
    return wrapper


def _check_values(training: Mapping[str, Any]) -> None:
    for key in ("use_ema", "force_input_mono"):
        require_flag(f"training.{key}", training.get(key, False))
    for key, least in (("max_bad_batches", 1), ("log_every", 1), ("gradient_log_every", 0)):
        require_whole(f"training.{key}", training.get(key, least), least)
    require_number("training.latent_mask_ratio", training.get("latent_mask_ratio", 0), at_least=0, at_most=1)


def _bottleneck_weights(autoencoder: Autoencoder, entry: object) -> dict[str, float]:
    if entry is None:
        return {}
    if not isinstance(entry, Mapping):
        raise UserError("loss_configs.bottleneck must be an object with type and weights")
    check_keys("loss_configs.bottleneck", entry, ("type", "config", "weights"))
    if entry.get("type", "kl") not in ("kl", "bottleneck"):
        raise choice_error("loss type in loss_configs.bottleneck", entry["type"], ["kl"])
    known = ("kl",) if isinstance(autoencoder.bottleneck, VAEBottleneck) else None
    weights = check_weights("bottleneck", entry.get("weights"), known)
    return {key: weight for key, weight in weights.items() if weight != 0}
