"""Builds the training wrapper from a model config's ``training`` section."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from ..config import build, check_keys, check_section, check_types, parameter_names
from ..errors import UserError
from ..losses import LossBundle, check_weights
from ..models import VAEBottleneck
from ..value_types import OneOf, Positive
from .balance import GradientBalance
from .discriminators import create_discriminator
from .kl_target import KLTarget
from .latents import PLACE, Equivariance
from .optimizers import Optimizers
from .phases import Schedule
from .players import Autoencoder, Discriminator
from .section import MovingAverage, TrainingSection
from .validation import Validation
from .wrapper import EarTrainingWrapper

#: What the wrapper is given built.
BUILT = (
    "autoencoder",
    "bundle",
    "optimizers",
    "schedule",
    "discriminator",
    "adversarial_weights",
    "bottleneck_weights",
    "kl_target",
    "equivariance",
    "validation",
    "ema_copy",
    "ema_config",
    "balance",
)


class BottleneckEntry(TypedDict, total=False):
    """The keys of ``loss_configs.bottleneck``.

    Keys:
        type: ``"kl"``, or ``"bottleneck"`` for the losses of a host's bottleneck.
        config: nothing so far.
        weights: name of the bottleneck's loss → weight, such as ``{"kl": 1e-6}``.
        target_kl: nats per latent value. The weight of ``kl`` then starts at the one in ``weights`` and moves, by 1 %
            a round at most, to where KL / (2 · ``latent_dim``) is this.
    """

    type: Annotated[str, OneOf(("kl", "bottleneck"))]
    config: Mapping[str, Any] | None
    weights: Mapping[str, float]
    target_kl: Positive


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
    settings = parameter_names(EarTrainingWrapper, without=BUILT)
    check_keys("training", training, [*TrainingSection.__annotations__, *settings])
    loss_configs = training.get("loss_configs")
    if not loss_configs:
        raise UserError("training.loss_configs is missing; name at least one loss term")
    for types in (TrainingSection, EarTrainingWrapper):
        check_types("training", types, training, without=BUILT)
    check_types("training.ema", MovingAverage, training.get("ema") or {})
    channels = autoencoder.out_channels
    bundle = LossBundle.from_config(loss_configs, sample_rate)
    discriminator: Discriminator | None = None
    if "discriminator" in loss_configs:
        discriminator = create_discriminator(loss_configs["discriminator"], sample_rate, channels)
    if training.get("use_ema", False) and ema_copy is None:
        ema_copy = copy.deepcopy(autoencoder)
    schedule = Schedule.from_config(training.get("phases"), list(loss_configs))
    adversarial_weights = loss_configs.get("discriminator", {}).get("weights")
    bottleneck_weights = _bottleneck_weights(autoencoder, loss_configs.get("bottleneck"))
    wrapper = EarTrainingWrapper(
        autoencoder,
        bundle,
        Optimizers(
            training.get("optimizer_configs"), training.get("learning_rate"), training.get("clip_grad_norm", 0.0)
        ),
        schedule,
        discriminator=discriminator,
        adversarial_weights=adversarial_weights,
        bottleneck_weights=bottleneck_weights,
        kl_target=_kl_target(autoencoder, loss_configs.get("bottleneck"), bottleneck_weights),
        equivariance=_equivariance(autoencoder, training.get("equivariance")),
        validation=Validation(training.get("eval_loss_configs") or {}, sample_rate),
        ema_copy=ema_copy if training.get("use_ema", False) else None,
        ema_config=training.get("ema"),
        balance=GradientBalance.from_config(training.get("balance"), bundle, adversarial_weights, schedule),
        **{key: training[key] for key in settings if key in training},
    )
    _require_losses(wrapper)
    wrapper.configure_optimizers()  # Lightning asks for them later; what is wrong with them is said now.
    return wrapper


def _require_losses(wrapper: EarTrainingWrapper) -> None:
    """Raises :class:`UserError` for a phase in which nothing pulls at the generator."""
    weights = {
        **{name: entry.weights for name, entry in wrapper.bundle.entries.items()},
        "bottleneck": wrapper.bottleneck_weights,
    }
    for phase in wrapper.schedule.phases:
        entries = weights if phase.losses is None else phase.losses
        pulls = any(weights.get(name) for name in entries)
        if phase.generator and not pulls and not (phase.adversarial and any(wrapper.adversarial_weights.values())):
            raise UserError(
                f"no loss with a weight other than 0 trains the generator in the phase '{phase.name}'; "
                "give one of its losses a weight"
            )


def _bottleneck_weights(autoencoder: Autoencoder, entry: Mapping[str, Any] | None) -> dict[str, float]:
    if entry is None:
        return {}
    check_section("loss_configs.bottleneck", BottleneckEntry, entry)
    known = ("kl",) if isinstance(autoencoder.bottleneck, VAEBottleneck) else None
    weights = check_weights("bottleneck", entry.get("weights"), known)
    return {key: weight for key, weight in weights.items() if weight != 0}


def _kl_target(
    autoencoder: Autoencoder, entry: Mapping[str, Any] | None, weights: Mapping[str, float]
) -> KLTarget | None:
    if entry is None or "target_kl" not in entry:
        return None
    if not weights.get("kl", 0) > 0:
        raise UserError(
            "loss_configs.bottleneck.target_kl adapts the weight of kl, which must begin above 0; "
            'give the entry "weights": {"kl": 1e-6}'
        )
    return KLTarget(entry["target_kl"], autoencoder.latent_dim, weights["kl"])


def _equivariance(autoencoder: Autoencoder, config: Mapping[str, Any] | None) -> Equivariance | None:
    if config is None:
        return None
    if getattr(autoencoder.bottleneck, "is_discrete", False):
        raise UserError(
            f"{PLACE} decodes latents that have been changed, and this bottleneck's are entries of a codebook, which "
            "cannot be; leave the key out or take another bottleneck"
        )
    return build(PLACE, Equivariance, config)
