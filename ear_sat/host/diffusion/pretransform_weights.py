"""A pretransform whose weights were not loaded is an error: its latents are noise, and nothing else would say so.

The host loads a pretransform's weights in many ways, all of which end in ``load_state_dict`` of the autoencoder or of a
module around it; a hook there notes whether every parameter was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...errors import UserError

#: Plain attribute of a pretransform's autoencoder: whether its weights were loaded.
LOADED = "_ear_sat_weights_loaded"


def watch(pretransform: Any) -> Any:
    """Notes from now on whether weights are loaded into an ``AutoencoderPretransform``; others pass through."""
    from stable_audio_tools.models.pretransforms import AutoencoderPretransform

    if isinstance(pretransform, AutoencoderPretransform):
        setattr(pretransform.model, LOADED, False)
        pretransform.model.register_load_state_dict_pre_hook(_note)
    return pretransform


def _note(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """A partial load does not count. The host's ``copy_state_dict`` fills up with the model's own tensors."""
    given = ((state.get(prefix + name), parameter) for name, parameter in module.named_parameters())
    if all(value is not None and value.data_ptr() != parameter.data_ptr() for value, parameter in given):
        setattr(module, LOADED, True)


def check_pretransform_weights(model: Any) -> None:
    """Raises :class:`UserError` if ``model`` has an autoencoder as its pretransform whose weights were not loaded."""
    autoencoder = getattr(getattr(model, "pretransform", None), "model", None)
    if getattr(autoencoder, LOADED, True) is False:
        raise UserError(
            "the weights of the pretransform were not loaded, so its latents would be noise; "
            "give the autoencoder's with --pretransform-ckpt-path FILE"
        )
