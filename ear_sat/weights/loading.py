"""Loads an autoencoder from any file of weights, without a config."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..errors import AssumptionWarning, UserError, first_line
from ..models import Autoencoder
from .architecture import read_architecture
from .checkpoint import Checkpoint, read_checkpoint
from .fit import fit_strictly
from .source import Builder, Source, as_source, is_foreign


def load_autoencoder(
    path: str | Path | Source,
    device: str | torch.device = "cpu",
    *,
    sample_rate: int | None = None,
    dim_heads: int | None = None,
    final_tanh: bool | None = None,
) -> Autoencoder:
    """A ready model in eval mode; one of ours needs no stable-audio-tools and no config.

    Args:
        path: released ``.pyt``, host checkpoint, training checkpoint (its moving average where there is one),
            ``.safetensors``, or the folder of an export or a run; a :class:`.source.Source` for models that are not
            ours.
        device: where the model is to be.
        sample_rate: Hz. This and the next two cannot be read off the tensors; without a value here or in the file's
            metadata they are the released models', with a warning.
        dim_heads: channels per attention head of the transformer.
        final_tanh: the decoder ends in a tanh.

    Raises:
        UserError: the file cannot be read, is refused, or is not an εar-VAE; missing, unexpected and mis-shaped keys
            are counted by module.
    """
    checkpoint = read_checkpoint(path)
    known = {"sample_rate": sample_rate, "dim_heads": dim_heads, "final_tanh": final_tanh}
    return build_autoencoder(checkpoint, device, builder=as_source(path).builder, **known)


def build_autoencoder(
    checkpoint: Checkpoint, device: str | torch.device = "cpu", *, builder: Builder | None = None, **known: Any
) -> Autoencoder:
    """The model of a checkpoint that has been read; see :func:`fit_checkpoint`. It takes over the tensors."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {device} cannot be used: {first_line(error)}") from None
    fitted = fit_checkpoint(checkpoint, builder, **known)
    if fitted.assumed:
        warnings.warn(
            f"{checkpoint.path.name} does not say everything about its model; assumed as in the released ones: "
            f"{', '.join(fitted.assumed)}",
            AssumptionWarning,
            stacklevel=3,
        )
    return fitted.model.to(device).eval()


@dataclass(frozen=True)
class Fitted:
    """A model with the tensors of a checkpoint, on the CPU.

    Attributes:
        model: the model.
        config: its config.
        state: its tensors, by the keys with which whoever builds from ``config`` loads them.
        assumed: "name = value" of what was assumed in the config.
    """

    model: Autoencoder
    config: dict[str, Any]
    state: dict[str, Tensor]
    assumed: list[str]


def fit_checkpoint(checkpoint: Checkpoint, builder: Builder | None = None, **known: Any) -> Fitted:
    """Builds the model that ``checkpoint`` describes and puts its tensors into it; no tensor of ours is copied.

    Args:
        checkpoint: what a file holds. One of ours is built as its tensors say, another as its config says.
        builder: of models that are not ours.
        known: ``sample_rate``, ``dim_heads``, ``final_tanh`` of :func:`load_autoencoder`.

    Raises:
        UserError: not an εar-VAE, or keys are missing, unexpected or mis-shaped.
    """
    try:
        stored = checkpoint.model_config
    except UserError as error:
        raise UserError(f"cannot use {checkpoint.path}: {error}") from None
    if stored is not None and stored.get("model_type", "autoencoder") != "autoencoder":
        raise UserError(
            f"cannot use {checkpoint.path}: its model config is of model_type {stored['model_type']!r}; give "
            "weights of an autoencoder, or its own config with --model-config"
        )
    if is_foreign(stored):
        return _built(checkpoint, builder, known)
    try:
        config, assumed = read_architecture(checkpoint.state, stored=stored, **known)
        with _Unfilled():
            model = Autoencoder.from_config(config)
    except UserError as error:
        raise UserError(f"cannot use {checkpoint.path}: {error}") from None
    fit_strictly(
        model,
        checkpoint.state,
        str(checkpoint.path),
        "the architecture read off its tensors",
        remedy="the file is incomplete or of another model",
        assign=True,
    )
    return Fitted(model, config, model.state_dict(), assumed)


def _built(checkpoint: Checkpoint, builder: Builder | None, known: dict[str, Any]) -> Fitted:
    if builder is None:
        raise UserError(
            f"{checkpoint.path} is of an architecture that stable-audio-tools builds and not this package; load it "
            "with ear_sat.load_autoencoder or an ear-sat command"
        )
    fitted = builder(checkpoint)
    for name, value in known.items():
        if value is not None and value != fitted.config.get(name):
            raise UserError(
                f"{name} of {checkpoint.path} follows from its model config and cannot be {value}; leave it out, or "
                "change the config"
            )
    return fitted


class _Unfilled(TorchFunctionMode):
    """Skips ``torch.nn.init``: weights that are replaced at once need no time, memory pages or random numbers.

    Building on the meta device would do the same, but imports sympy: seconds, and a hundred megabytes.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return None
        return func(*args, **(kwargs or {}))
