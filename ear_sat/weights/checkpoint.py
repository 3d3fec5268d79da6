"""What a file of weights holds: one form for everything a user may have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..files import expanded
from ..named_configs import MODEL, load_config
from .hub import WEIGHTS, hub_name, weights_folder
from .released import RELEASES, download
from .sharded import INDEX, read_index, whole_of
from .source import Source, as_source, config_beside, may_be_of
from .spelling import with_plain_keys
from .torch_file import read_file

_PRETRANSFORM = "(its pretransform)"
#: Prefix of the autoencoder's keys in a checkpoint → what that checkpoint is. The first that occurs counts.
PREFIXES = {
    "autoencoder_ema.ema_model.": "training checkpoint (moving average)",
    "autoencoder.": "training checkpoint",
    "diffusion.pretransform.model.": f"training checkpoint of a diffusion model {_PRETRANSFORM}",
    "pretransform.model.": f"diffusion model {_PRETRANSFORM}",
}
RELEASE, HOST, SAFETENSORS = "bare tensors (the released layout)", "stable-audio-tools checkpoint", "safetensors"
#: Keys of a model config that describe the model; the training section stays with the run.
MODEL_KEYS = ("model_type", "sample_size", "sample_rate", "audio_channels", "model")
_DISCRIMINATOR = "discriminator."
#: Of the keys of εar-VAE2, another architecture of the same authors'.
_SECOND_MODEL = ("gen_ema", "refiner")
_MAX_KEY = 500  # characters
_MAX_CONFIG = 100_000  # characters; a pickle of a few bytes can stand for a config without end


@dataclass
class Checkpoint:
    """An autoencoder's tensors and what is known about them.

    Attributes:
        path: the file.
        kind: what the file is, in words.
        state: tensors by the keys of an unwrapped model, ``decoder.transformers.*`` included; float32, finite.
        metadata: strings stored with the tensors; ``model_config`` (JSON) and ``rounds`` among them.
        discriminator: the discriminator's tensors, where the file is a training checkpoint that has one.
    """

    path: Path
    kind: str
    state: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    discriminator: dict[str, Tensor] = field(default_factory=dict)

    @property
    def model_config(self) -> dict[str, Any] | None:
        """The model config stored in the file.

        Raises:
            UserError: what is stored is not a JSON object.
        """
        text = self.metadata.get("model_config")
        if text is None:
            return None
        try:
            config = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"the model config stored in {self.path} is not valid JSON: {error}") from None
        if not isinstance(config, dict):
            raise UserError(f"the model config stored in {self.path} is a {type(config).__name__}, not an object")
        return config

    @property
    def rounds(self) -> int | None:
        """Training rounds behind the weights."""
        text = self.metadata.get("rounds", "")
        return int(text) if text.isdecimal() and len(text) < 20 else None


def config_metadata(model_config: Mapping[str, Any], rounds: int | None = None) -> dict[str, str]:
    """The metadata of a file: the model part of a config, and the number of rounds.

    Raises:
        UserError: the config is not JSON, or is huge.
    """
    text = ""
    try:
        for piece in json.JSONEncoder().iterencode({k: model_config[k] for k in MODEL_KEYS if k in model_config}):
            text += piece
            if len(text) > _MAX_CONFIG:
                raise UserError(f"the model config is longer than {_MAX_CONFIG} characters")
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the model config is not plain JSON: {error}") from None
    return {"model_config": text} if rounds is None else {"model_config": text, "rounds": str(rounds)}


def read_checkpoint(path: str | Path | Source) -> Checkpoint:
    """Reads a released ``.pyt``, a host ``{"state_dict": …}``, a training checkpoint, or a safetensors file.

    ``USER/NAME`` is a model on the hub (:mod:`.hub`). A folder stands for the file in it: ``model.safetensors``,
    ``model.ckpt`` or the index of several parts, or the last checkpoint of a run. Keys may be those of a wrapper
    (DistributedDataParallel, torch.compile) or of torch's other weight norm: see :mod:`.spelling`. The moving average
    is preferred to the trained weights. Code in a file is never run.

    The model config is the one that the source names, else the file's own, else the ``model_config.json`` beside it or
    in its run, unless that is another model's.

    Raises:
        UserError: the file cannot be read (see :func:`read_file`), holds no tensors, or tensors that cannot be right;
            the model config is not one of an autoencoder.
    """
    source = as_source(path)
    given = located(source.path)
    file = resolve(given)
    every, metadata, kind = read_tensors(file)
    kind, state = _unwrapped(every, kind)
    _check_values(file, state)
    if source.model_config is not None:
        metadata = {**metadata, **config_metadata(load_config(source.model_config, MODEL))}
    elif (
        "model_config" not in metadata
        and (beside := config_beside(given, file))
        and (given.is_dir() or kind.endswith(_PRETRANSFORM) or may_be_of(beside, state))
    ):
        metadata = {**metadata, **config_metadata(beside)}
    discriminator = {}
    if kind.startswith("training"):
        discriminator = {k[len(_DISCRIMINATOR) :]: v for k, v in every.items() if k.startswith(_DISCRIMINATOR)}
    checkpoint = Checkpoint(file, kind, state, metadata, discriminator)
    config = checkpoint.model_config if source.model_config else None
    if config is not None and config.get("model_type") == "autoencoder" and isinstance(config.get("model"), Mapping):
        return checkpoint
    if kind.endswith(_PRETRANSFORM):
        checkpoint.metadata = _of_pretransform(checkpoint.model_config or {})
    elif config is not None:
        raise UserError(
            f"{source.model_config} is not the config of an autoencoder; give one of model_type "
            '"autoencoder" with a "model"'
        )
    return checkpoint


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Every tensor of a file by its :func:`plain_key`, the metadata, and what kind of file it is by its form.

    Raises:
        UserError: the file cannot be read, or holds no tensors, or some that are not what they seem.
    """
    if not path.name.endswith(INDEX):
        every, metadata, kind = _read_one(path)
        return with_plain_keys(every), metadata, kind
    places = read_index(path)
    parts = {file: _read_one(file) for file in dict.fromkeys(places.values())}
    lost = [key for key, file in places.items() if key not in parts[file][0]]
    if lost:
        raise UserError(
            f"{path}: {places[lost[0]].name} lacks {lost[0]}{_more(lost)}; get all parts of the model again"
        )
    _, metadata, kind = parts[next(iter(parts))]
    every = {key: parts[file][0][key] for key, file in places.items()}
    return with_plain_keys(every), metadata, f"{kind} in {len(parts)} part(s)"


def _read_one(path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    content, metadata, is_safetensors = read_file(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors; give a checkpoint")
    if found := [name for name in _SECOND_MODEL if any(str(key).split(".")[0] == name for key in content)]:
        raise UserError(
            f"{path} is a checkpoint of εar-VAE2 (keys {' and '.join(found)}), another architecture than εar-VAE, "
            "which ear_sat does not have; load it with its authors' code"
        )
    nested = content.get("state_dict")
    tensors = nested if isinstance(nested, Mapping) else content
    every = {
        key: value.detach() for key, value in tensors.items() if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not every:
        raise UserError(f"{path} holds no tensors by name, {_entries(tensors)}; give a checkpoint of a model")
    if any(len(key) > _MAX_KEY or not key.isprintable() for key in every):
        raise UserError(f"{path} is damaged: some of its keys are no names; get it again")
    _check_storage(path, every)
    try:
        metadata = metadata or _metadata(content)
    except UserError as error:
        raise UserError(f"{path} has unusable metadata: {error}") from None
    return every, metadata, SAFETENSORS if is_safetensors else HOST if nested else RELEASE


def _entries(content: Mapping[Any, Any]) -> str:
    names = [key[:40] for key in content if isinstance(key, str) and key[:40].isprintable()][:4]
    return f"only {', '.join(names)}{', …' if len(content) > len(names) else ''}" if names else "nor anything else"


def located(path: str | Path) -> Path:
    """Where the weights lie that ``path`` names: "44k" and "48k" are released, ``USER/NAME`` is on the hub."""
    try:
        if str(path) in RELEASES and not Path(path).exists():
            return download(str(path))
    except OSError as error:
        raise _unreadable(path, error) from None
    name = hub_name(path)
    return expanded(path) if name is None else weights_folder(name)


def resolve(path: str | Path) -> Path:
    """The file that ``path`` stands for, which may be :func:`located` elsewhere, or the folder of an export or run."""
    path = located(path)
    try:
        if not path.is_dir():
            return whole_of(path)
        names = (*WEIGHTS, "checkpoints/last.ckpt", "checkpoints/best.ckpt")
        for name in names:
            if (path / name).is_file():
                return path / name
    except OSError as error:  # no permission, a name too long
        raise _unreadable(path, error) from None
    raise UserError(f"{path} is a folder without {', '.join(names[:4])}; give the path of a checkpoint")


def _unreadable(path: str | Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {error.strerror or error}")


def _unwrapped(every: Mapping[str, Tensor], kind: str) -> tuple[str, dict[str, Tensor]]:
    for prefix, wrapped_kind in PREFIXES.items():
        found = {key[len(prefix) :]: value for key, value in every.items() if key.startswith(prefix)}
        if found:
            return wrapped_kind, found
    # The release keeps the transformer beside the decoder.
    return kind, {(f"decoder.{k}" if k.startswith("transformers.") else k): v for k, v in every.items()}


def _of_pretransform(diffusion: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of the autoencoder in a diffusion model, whose rounds and other settings are not the autoencoder's."""
    config: Any = diffusion
    for key in ("model", "pretransform", "config"):
        config = config.get(key) if isinstance(config, Mapping) else None
    known = {key: diffusion[key] for key in ("sample_rate", "audio_channels") if key in diffusion}
    if isinstance(config, Mapping):
        known["model"] = config
    return config_metadata({"model_type": "autoencoder", **known}) if known else {}


def _metadata(content: Mapping[Any, Any]) -> dict[str, str]:
    """Metadata of a torch file: ours (see :mod:`.writing`), or what our wrapper puts into a training checkpoint."""
    for stored in (content.get("metadata"), getattr(content, "ear_sat", None)):
        if isinstance(stored, Mapping):
            return {k: v for k, v in stored.items() if isinstance(k, str) and isinstance(v, str)}
    config, state = content.get("model_config"), content.get("ear_sat")
    rounds = state.get("rounds") if isinstance(state, Mapping) else content.get("global_step")
    rounds = rounds if isinstance(rounds, int) and not isinstance(rounds, bool) else None
    if isinstance(config, Mapping):
        return config_metadata(config, rounds)
    return {} if rounds is None else {"rounds": str(rounds)}


def _check_storage(path: Path, every: dict[str, Tensor]) -> None:
    """Refuses tensors with more values than the file has room for; gives the others as much memory as they need."""
    for key, value in every.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
        if not plain or value.nbytes > value.untyped_storage().nbytes():
            raise UserError(f"{path}: {key} is not a plain tensor; the file is damaged or was made to mislead")
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in every.values()}
    if sum(storages.values()) > path.stat().st_size:  # torch believes the sizes that a file gives
        raise UserError(f"{path}: its tensors are larger than the file; it is damaged or was made to mislead")
    for key, value in every.items():
        if not value.is_contiguous() or value.untyped_storage().nbytes() != value.nbytes:
            every[key] = value.clone(memory_format=torch.contiguous_format)


def _check_values(path: Path, state: Mapping[str, Tensor]) -> None:
    wrong = [key for key, value in state.items() if value.dtype != torch.float32]
    if wrong:
        kinds = ", ".join(sorted({str(state[key].dtype).removeprefix("torch.") for key in wrong}))
        raise UserError(
            f"{path}: {len(wrong)} of {len(state)} tensors are {kinds}, not float32 ({wrong[0]}{_more(wrong)}); "
            "get the float32 file, or convert the tensors with .float() and save them again"
        )
    check_finite(path, state)


def check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raises :class:`UserError` if there is NaN or infinity in ``state``, the tensors of ``path``."""
    # aminmax hands NaN on and needs no temporary copy.
    floats = {key: value for key, value in state.items() if value.is_floating_point() and value.numel()}
    bad = [k for k, v in floats.items() if not torch.stack(torch.aminmax(v)).isfinite().all()]
    if bad:
        raise UserError(
            f"{path}: {len(bad)} of {len(state)} tensors hold NaN or infinite values ({bad[0]}{_more(bad)}); "
            "use an earlier checkpoint or get the file again"
        )


def _more(keys: list[str]) -> str:
    return ", …" if len(keys) > 1 else ""
