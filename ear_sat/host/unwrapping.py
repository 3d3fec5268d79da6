"""What the host's unwrap script needs of our training checkpoints.

It builds the host's wrapper class around a model and calls its ``load_from_checkpoint``, whatever wrapper wrote the
file.
"""

from __future__ import annotations

import pickle
from typing import Any

import torch

from ..training.factory import create_wrapper


def load_own_checkpoint(path: Any, **arguments: Any) -> Any | None:
    """Our training wrapper with the weights of ``path``; None where another wrapper wrote that file.

    Args:
        path: a Lightning checkpoint.
        arguments: those of the host's wrapper: ``autoencoder``, ``loss_config``, ``use_ema``, ``ema_copy``.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError):  # objects of the host's, or damage that it reports itself
        return None
    if "ear_sat" not in checkpoint:
        return None
    autoencoder = arguments["autoencoder"]
    training = {"loss_configs": arguments.get("loss_config"), "use_ema": arguments.get("use_ema", True)}
    wrapper = create_wrapper(autoencoder, autoencoder.sample_rate, training, arguments.get("ema_copy"))
    wrapper.on_load_checkpoint(checkpoint)
    wrapper.load_state_dict(checkpoint["state_dict"], strict=arguments.get("strict", True))
    return wrapper
