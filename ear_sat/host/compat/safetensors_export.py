"""The host's ``export_model(use_safetensors=True)`` cannot write every model.

0.0.20's autoencoder wrapper calls a function that it does not import, and safetensors refuses or leaves out tensors
that two modules share, as the activations of our residual units do. Ours writes each name with a copy of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...weights import write_weights


def save_file(tensors: Mapping[str, Tensor], filename: Any, metadata: Mapping[str, str] | None = None) -> None:
    """``safetensors.torch.save_file`` that takes shared tensors."""
    write_weights(tensors, filename, metadata=metadata, file_format="safetensors", overwrite=True)


def save_model(model: nn.Module, filename: Any, metadata: Mapping[str, str] | None = None) -> None:
    """``safetensors.torch.save_model`` that keeps every name, so that the file loads strictly."""
    save_file(model.state_dict(), filename, metadata)


def apply() -> None:
    """Replaces both names in the modules of the host's training wrappers."""
    from stable_audio_tools.training import autoencoders, diffusion

    autoencoders.save_model = save_model
    diffusion.save_file = save_file
