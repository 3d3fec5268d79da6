"""What names a model to load: its weights, its config, and who builds it if it is not ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import UserError
from ..json_file import load_json
from ..models import BOTTLENECKS, DECODERS, ENCODERS
from .architecture import read_architecture

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .loading import Fitted

#: Builds the model of the config that a checkpoint has, with its tensors.
Builder = Callable[["Checkpoint"], "Fitted"]


@dataclass(frozen=True)
class Source:
    """Weights and what is needed to use them.

    Attributes:
        path: a file of weights, or a folder; see :func:`.checkpoint.read_checkpoint`.
        model_config: name or file of the config, in place of the one with or beside the weights.
        builder: of models that are not ours; None: they are refused.
    """

    path: str | Path
    model_config: Path | None = None
    builder: Builder | None = None


def as_source(weights: str | Path | Source) -> Source:
    """``weights``, if only their path is given as a source of models that are ours."""
    return weights if isinstance(weights, Source) else Source(weights)


def is_foreign(config: Mapping[str, Any] | None) -> bool:
    """Whether a config is that of an autoencoder with parts that are not ours; the host's "vae" is the same as ours.

    >>> is_foreign({"model": {"encoder": {"type": "oobleck"}, "decoder": {"type": "oobleck"}}})
    True
    """
    if config is None or config.get("model_type", "autoencoder") != "autoencoder":
        return False
    model = config.get("model")
    if not isinstance(model, Mapping):
        return False
    ours = {"encoder": ENCODERS, "decoder": DECODERS, "bottleneck": (*BOTTLENECKS, "vae")}
    kinds = {name: part.get("type") for name in ours if isinstance(part := model.get(name), Mapping)}
    others = [name for name, kind in kinds.items() if isinstance(kind, str) and kind not in ours[name]]
    return bool(others or isinstance(model.get("pretransform"), Mapping))


#: What the shapes of tensors tell for sure, by its key in a model config.
_SIZES = ("latent_dim", "downsampling_ratio", "in_channels", "out_channels", "channels", "c_mults", "strides", "depth")


def may_be_of(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """Whether a config that lies beside a file may be that of its tensors, which may have left their own folder.

    One of ours must say the sizes that the tensors have; of others nothing is known before they are built.
    """
    if is_foreign(config):
        return True
    try:
        sizes = read_architecture(state)[0]["model"]
    except UserError:
        return False
    model = config.get("model")
    return isinstance(model, Mapping) and _named_alike(model, sizes)


def _named_alike(named: Mapping[str, Any], sizes: Mapping[str, Any]) -> bool:
    """Whether what a config names has the sizes read off the tensors; it may leave out all but a transformer."""
    if bool(named.get("transformer")) != bool(sizes.get("transformer")):
        return False
    if any(named.get(name, sizes[name]) != sizes[name] for name in _SIZES if name in sizes):
        return False
    parts = [name for name, size in sizes.items() if isinstance(size, Mapping) and isinstance(named.get(name), Mapping)]
    return all(_named_alike(named[name], sizes[name]) for name in parts)


def config_beside(given: Path, file: Path) -> dict[str, Any] | None:
    """The ``model_config.json`` of the folder that was given, or beside a file, or of the run that it lies in."""
    run = [file.parent.parent] if file.parent.name == "checkpoints" else []
    for place in [given] if given.is_dir() else [file.parent, *run]:
        if (path := place / "model_config.json").is_file():
            return load_json(path)
    return None
