"""Starts a model from existing weights, strictly: a key that does not fit is an error, never skipped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint as keys of an unwrapped model.

    Understands the released ``.pyt`` (a bare tensor dictionary), the host's ``{"state_dict": …}``, a Lightning
    checkpoint of an autoencoder wrapper (its moving average where there is one) and safetensors.

    Raises:
        UserError: the file is missing, is none of these, or wants to run code when it is loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}; give the path of a checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}") from None
    except Exception as error:  # torch raises many types for files that are not its own
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} is not a checkpoint of plain tensors ({first}); get it again or convert it") from None
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    state = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    for prefix in ("autoencoder_ema.ema_model.", "autoencoder."):
        wrapped = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if wrapped:
            return wrapped
    # The release keeps the transformer beside the decoder.
    return {(f"decoder.{key}" if key.startswith("transformers.") else key): value for key, value in state.items()}


def load_strictly(model: nn.Module, path: str | Path, what: str = "the model") -> None:
    """Loads :func:`read_state` of ``path`` into ``model``.

    Raises:
        UserError: missing, unexpected or mis-shaped keys, counted and with examples.
    """
    state, own = read_state(path), model.state_dict()
    problems = []
    for word, keys in (
        ("missing", sorted(own.keys() - state.keys())),
        ("unexpected", sorted(state.keys() - own.keys())),
        ("of another shape", sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)),
    ):
        if keys:
            problems.append(f"{len(keys)} {word} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})")
    if problems:
        raise UserError(f"{path} does not fit {what}: {'; '.join(problems)}; use the model config it was made with")
    model.load_state_dict(state)
