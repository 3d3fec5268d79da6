"""Writes an unwrapped autoencoder so that the host loads it strictly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import UserError


def export_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors as independent contiguous copies on the CPU.

    Both activations of a residual unit share their parameters. safetensors refuses shared storage, its ``save_model``
    drops one of the two keys, after which strict loads fail; copies keep both.
    """
    return {key: value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}


def save_autoencoder(
    model: nn.Module, path: str | Path, use_safetensors: bool = False, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes ``model`` to ``path``, atomically.

    Args:
        path: target file.
        use_safetensors: safetensors, else the host's ``{"state_dict": …}`` in torch's format.
        metadata: strings to store in a safetensors file.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if use_safetensors:
            save_file(export_state(model), temporary, metadata=dict(metadata) if metadata else None)
        else:
            torch.save({"state_dict": export_state(model)}, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error}; free some space or choose another folder") from error
