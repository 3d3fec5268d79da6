"""Puts tensors into a model: strictly, or partly with an account of what fitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError
from .spelling import with_keys_of

_SHOWN_GROUPS = 6


@dataclass(frozen=True)
class Mismatch:
    """Keys of a model and of a state dictionary that do not go together, sorted."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    shapes: str = ""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        lists = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.reshaped))
        parts = [f"{len(keys)} {word} ({by_module(keys)})" for word, keys in lists if keys]
        return "; ".join(parts) + (f", such as {self.shapes}" if self.shapes else "")


def module_of(key: str, depth: int = 3) -> str:
    """The module that a key belongs to, at most ``depth`` names deep.

    >>> module_of("encoder.layers.3.layers.4.weight_v"), module_of("bias")
    ('encoder.layers.3', 'bias')
    """
    return ".".join(key.split(".")[:-1][:depth]) or key


def by_module(keys: Iterable[str]) -> str:
    """Keys counted by module.

    >>> by_module(["decoder.layers.0.bias", "decoder.layers.0.weight_g", "encoder.layers.0.bias"])
    'decoder.layers.0 ×2, encoder.layers.0 ×1'
    """
    counts: dict[str, int] = {}
    for key in keys:
        counts[module_of(key)] = counts.get(module_of(key), 0) + 1
    shown = [f"{module} ×{count}" for module, count in list(counts.items())[:_SHOWN_GROUPS]]
    rest = len(counts) - _SHOWN_GROUPS
    return ", ".join(shown) + (f" and {rest} more modules" if rest > 0 else "")


def shared_keys(model: nn.Module) -> list[list[str]]:
    """Groups of keys of ``model`` that are one parameter, such as both activations of a residual unit."""
    groups: dict[int, list[str]] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        groups.setdefault(id(value), []).append(key)
    return [keys for keys in groups.values() if len(keys) > 1]


def complete(model: nn.Module, state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """``state`` in the model's spelling, with both keys of every shared parameter.

    safetensors' ``save_model`` keeps only one of them.

    Raises:
        UserError: the two keys of a shared parameter have different values.
    """
    state = with_keys_of(model.state_dict(), state)
    for keys in shared_keys(model):
        present = [key for key in keys if key in state]
        for key in present[1:]:
            same_shape = state[key].shape == state[present[0]].shape
            if same_shape and not torch.equal(state[key], state[present[0]]):
                raise UserError(
                    f"{where} is another model: {present[0]} and {key} differ, but an εar-VAE has one activation for "
                    "both; a stock autoencoder of stable-audio-tools needs its own config: put its model_config.json "
                    "beside it, or give --model-config"
                )
        if present:
            state |= {key: state[present[0]] for key in keys if key not in state}
    return state


def compare(model: nn.Module, state: Mapping[str, Tensor]) -> Mismatch:
    """What keeps ``state`` from fitting ``model``."""
    own = model.state_dict()
    reshaped = tuple(sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape))
    shapes = ""
    if reshaped:
        key = reshaped[0]
        shapes = f"{key}: {list(state[key].shape)} in the file, {list(own[key].shape)} in the model"
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    return Mismatch(tuple(missing), tuple(unexpected), reshaped, shapes)


def fit_strictly(
    model: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    what: str = "the model",
    *,
    remedy: str = "use the model config it was made with",
    assign: bool = False,
) -> None:
    """Loads ``state`` into ``model``; every key must fit.

    Args:
        model: any module.
        state: tensors.
        where: the file, for messages.
        what: the model, for messages.
        remedy: what to do about a mismatch, for messages.
        assign: make the tensors the model's parameters instead of copying them.

    Raises:
        UserError: missing, unexpected or mis-shaped keys, counted by module.
    """
    state = complete(model, state, where)
    mismatch = compare(model, state)
    if mismatch:
        raise UserError(f"{where} does not fit {what}: {mismatch}; {remedy}")
    model.load_state_dict(state, assign=assign)


@dataclass(frozen=True)
class Coverage:
    """How much of a module was loaded: tensors and values."""

    module: str
    tensors: int
    loaded_tensors: int
    values: int
    loaded_values: int


def fit_partly(model: nn.Module, state: Mapping[str, Tensor], where: str) -> list[Coverage]:
    """Loads the keys of ``state`` that fit ``model`` in name and shape; returns the coverage of every module.

    Raises:
        UserError: nothing fits.
    """
    own = model.state_dict()
    state = complete(model, state, where)
    fitting = {key: state[key] for key in own if key in state and state[key].shape == own[key].shape}
    if not fitting:
        raise UserError(f"nothing in {where} fits the model: {compare(model, state)}")
    model.load_state_dict({**own, **fitting})
    rows: dict[str, list[int]] = {}
    for key, value in own.items():
        row = rows.setdefault(module_of(key), [0, 0, 0, 0])
        loaded = key in fitting
        row[0] += 1
        row[1] += loaded
        row[2] += value.numel()
        row[3] += value.numel() * loaded
    return [Coverage(module, *counts) for module, counts in rows.items()]
