"""What a training of the host's leaves to be used: the unwrapped model, its moving average where there is one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

#: Attributes under which the host's training wrappers keep what they train; ``…_ema`` is its moving average.
_ATTRIBUTES = ("diffusion", "autoencoder", "diffae", "model")


def trained_model(wrapper: Any) -> Any:
    """The unwrapped model inside one of the host's training wrappers."""
    return getattr(wrapper, _attribute(wrapper))


def exported_state(wrapper: Any) -> dict[str, Tensor]:
    """The tensors to use of a training wrapper of the host's, under the keys of the unwrapped model.

    The host's own ``export_model`` puts the average into the model for good, cannot write our shared activations as
    safetensors, and its ARC wrapper has none.
    """
    name = _attribute(wrapper)
    state, average = dict(trained_model(wrapper).state_dict()), getattr(wrapper, f"{name}_ema", None)
    if average is None:
        return state
    # The average of a diffusion model leaves conditioner and pretransform out.
    prefix = "model." if name == "diffusion" else ""
    return state | {f"{prefix}{key}": value for key, value in average.ema_model.state_dict().items()}


def _attribute(wrapper: Any) -> str:
    return next(name for name in _ATTRIBUTES if hasattr(wrapper, name))
