"""Other spellings of a model's keys: those of wrappers around it, and of torch's two ways to normalise weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

#: Names that wrappers put into keys: DistributedDataParallel, DataParallel and AveragedModel; torch.compile; FSDP;
#: activation checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGED = "n_averaged"  # the counter of an AveragedModel, beside its module
#: torch.nn.utils.parametrizations.weight_norm → torch.nn.utils.weight_norm, and so here.
_WEIGHT_NORM = {"original0": "weight_g", "original1": "weight_v"}


def plain_key(key: str) -> str:
    """``key`` without names of wrappers, and with weight norm as a model of ours has it.

    >>> plain_key("module._orig_mod.encoder.layers.0.parametrizations.weight.original1")
    'encoder.layers.0.weight_v'
    """
    names = [name for name in key.split(".") if name not in _WRAPPERS]
    if names[-3:-1] == ["parametrizations", "weight"] and names[-1] in _WEIGHT_NORM:
        names[-3:] = [_WEIGHT_NORM[names[-1]]]
    return ".".join(names) or key


def with_plain_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their :func:`plain_key`; as they are where two would have the same one."""
    tensors = dict(tensors)
    if any(key.startswith("module.") for key in tensors):
        tensors.pop(_AVERAGED, None)
    plain = {plain_key(key): value for key, value in tensors.items()}
    return plain if len(plain) == len(tensors) else tensors


def with_keys_of(model_keys: Iterable[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the keys of a model that spells them in its own way.

    >>> list(with_keys_of(["convs.module.weight", "bias"], {"convs.weight": None, "bias": None, "other": None}))
    ['convs.module.weight', 'bias', 'other']
    """
    own = {key: key for key in model_keys}
    spelled = {**{plain_key(key): key for key in own}, **own}
    return {spelled.get(plain_key(key), key) if key not in own else key: value for key, value in tensors.items()}
