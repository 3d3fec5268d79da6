"""What a config of ours needs to train an autoencoder of the host's: its bottleneck's loss, and what to freeze."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..errors import UserError

#: Bottleneck → what of it is a loss in training, with the host's own weights; "vae" has kl, as ours, the others none.
_LOSSES: dict[str, dict[str, float]] = {
    "softnorm": {"softnorm_loss": 1e-5},
    "wasserstein": {"mmd": 100.0},
    "rvq": {"quantizer_loss": 1.0},
    "dac_rvq": {"vq/codebook_loss": 1.0, "vq/commitment_loss": 0.25},
}
#: Bottlenecks that move in training although nothing has a gradient.
_MOVING = ("rvq", "rvq_vae")


def trainable(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an autoencoder of the host's, so that losses on its audio reach it.

    Where the encoder is frozen, so is the bottleneck: the latents stay bit-identical.

    Raises:
        UserError: a bottleneck that cannot be frozen, behind a frozen encoder.
    """
    made = copy.deepcopy(dict(model))
    if isinstance(made.get("pretransform"), dict):
        made["pretransform"]["enable_grad"] = True
    bottleneck = made.get("bottleneck")
    if made["encoder"].get("requires_grad", True) or not isinstance(bottleneck, dict):
        return made
    if bottleneck.get("type") in _MOVING:
        raise UserError(
            f"the codebooks of a bottleneck {bottleneck['type']} follow the data in training, so its latents do not "
            "stay as they are; take a config that trains the encoder as well, such as ear_vae_finetune"
        )
    bottleneck["requires_grad"] = False
    if bottleneck.get("type") == "softnorm":  # whose running deviation has no gradient
        bottleneck["config"] = {**(bottleneck.get("config") or {}), "freeze": True}
    return made


def with_bottleneck_loss(loss_configs: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """``loss_configs`` with the entry ``bottleneck`` that the model's own needs, or without one."""
    kind = (model.get("bottleneck") or {}).get("type")
    if kind in ("vae", "ear_vae"):
        return dict(loss_configs)
    others = {name: entry for name, entry in loss_configs.items() if name != "bottleneck"}
    weights = _LOSSES.get(str(kind))
    return {**others, "bottleneck": {"type": "bottleneck", "weights": weights}} if weights else others
