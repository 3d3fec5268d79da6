"""Writes weights in every format that :mod:`.checkpoint` reads; tensors go through unchanged.

| format | suffix | layout | metadata |
|---|---|---|---|
| ``release`` | ``.pyt`` ``.pt`` ``.pth`` | bare tensor dictionary, ``transformers.*`` beside the decoder | attribute |
| ``host`` | ``.ckpt`` | ``{"state_dict": …}`` | key "metadata" |
| ``safetensors`` | ``.safetensors`` | host keys | header |
| ``hub`` | a folder | ``model_config.json`` and ``model.safetensors`` | header |
"""

from __future__ import annotations

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..config import check_choice
from ..errors import UserError, causes, first_line
from ..files import atomic_path, sync_folder, write_text

FORMATS = ("release", "host", "safetensors", "hub")
_SUFFIXES = {".pyt": "release", ".pt": "release", ".pth": "release", ".ckpt": "host", ".safetensors": "safetensors"}


def format_of(path: str | Path) -> str:
    """The format that a file name asks for.

    >>> format_of("ear_vae.pyt"), format_of("model.safetensors")
    ('release', 'safetensors')
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UserError(f"cannot tell the format of {path}; end it in {', '.join(_SUFFIXES)}, or give --format")
    return _SUFFIXES[suffix]


def refuse_existing(path: Path) -> None:
    """Raises :class:`UserError` if something is at ``path``."""
    try:
        exists = path.exists() or path.is_symlink()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from None
    if exists:
        raise UserError(f"{path} exists already; choose another name or add --force")


def write_weights(
    state: Mapping[str, Tensor],
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
    file_format: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes ``state`` (keys of an unwrapped model) to ``path``: all of it or nothing.

    Both keys of a shared activation are written, as independent copies: safetensors refuses shared storage, and a file
    with one of them fails the host's strict loading.

    Args:
        state: tensors.
        path: file, or folder for "hub".
        metadata: strings to keep with the tensors; "hub" needs "model_config".
        file_format: one of :data:`FORMATS`; by default what the name's suffix says.
        overwrite: replace what is there.

    Raises:
        UserError: ``path`` exists, or cannot be written.
    """
    path = Path(path)
    file_format = check_choice("format", file_format, FORMATS) if file_format else format_of(path)
    metadata = dict(metadata or {})
    if not overwrite:
        refuse_existing(path)
    try:
        if path.is_dir() != (file_format == "hub") and path.exists():
            kind, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise UserError(f"{path} is a {kind}; give the path of a {wanted}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if file_format == "hub":
            _write_hub(_independent(state), path, metadata)
        else:
            with atomic_path(path) as temporary:
                _write_file(_independent(state), temporary, metadata, file_format)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {_reason(error)}; free some space or choose another folder") from error


def _independent(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each with memory of its own and no more of it than it needs."""
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        tensors[key] = value
    return tensors


def _reason(error: BaseException) -> str:
    """torch hides a failing write behind a RuntimeError of its zip writer."""
    reasons = (cause.strerror for cause in causes(error) if isinstance(cause, OSError) and cause.strerror)
    return next(reasons, first_line(error))


def _write_file(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str], file_format: str) -> None:
    if file_format == "safetensors":
        path.touch()
        mode = path.stat().st_mode  # as the umask says; safetensors 0.8 makes its files private
        save_file(tensors, path, metadata={"format": "pt", **metadata})
        path.chmod(mode)
        return
    content: dict[str, Any]
    if file_format == "host":
        content = {"state_dict": tensors, **({"metadata": metadata} if metadata else {})}
    else:
        content = OrderedDict((key.removeprefix("decoder.") if _beside(key) else key, v) for key, v in tensors.items())
        if metadata:
            # The authors' code loads the dictionary strictly, so metadata cannot be a key; torch keeps attributes.
            content.ear_sat = metadata  # type: ignore[attr-defined]
    with path.open("wb") as file:  # given a path, torch would not say why it cannot write
        torch.save(content, file)


def _beside(key: str) -> bool:
    return key.startswith("decoder.transformers.")


def _write_hub(tensors: dict[str, Tensor], folder: Path, metadata: dict[str, str]) -> None:
    """Both files are complete before the first is in place."""
    if "model_config" not in metadata:
        raise UserError(f"{folder} needs a model config beside the weights; none is known")
    folder = folder.resolve()
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    names = ("model.safetensors", "model_config.json")
    try:
        staging.mkdir()
        config = json.dumps(json.loads(metadata["model_config"]), indent=2) + "\n"
        write_text(staging / names[1], config)  # for its syncing
        with atomic_path(staging / names[0]) as temporary:
            _write_file(tensors, temporary, metadata, "safetensors")
        if not folder.exists():
            os.replace(staging, folder)  # noqa: PTH105
        else:
            for name in names:
                os.replace(staging / name, folder / name)  # noqa: PTH105
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
