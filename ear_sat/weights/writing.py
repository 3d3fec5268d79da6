"""Writes weights in every format that :mod:`.checkpoint` reads; tensors go through unchanged.

| format | suffix | layout | metadata |
|---|---|---|---|
| ``release`` | ``.pyt`` ``.pt`` ``.pth`` | bare tensor dictionary, ``transformers.*`` beside the decoder | attribute |
| ``host`` | ``.ckpt`` | ``{"state_dict": …}`` | key "metadata" |
| ``safetensors`` | ``.safetensors`` | host keys | header |
| ``hub`` | a folder | ``model_config.json``, ``model.safetensors`` and a card where there is one | header |

Other layouts, such as diffusers', are folders as well: :func:`write_folder`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
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
    card: str | None = None,
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
        card: README.md of a "hub" folder.

    Raises:
        UserError: ``path`` exists, or cannot be written.
    """
    path = Path(path)
    file_format = check_choice("format", file_format, FORMATS) if file_format else format_of(path)
    metadata = dict(metadata or {})
    if file_format == "hub":
        if "model_config" not in metadata:
            raise UserError(f"{path} needs a model config beside the weights; none is known")
        texts = {"model_config.json": json.dumps(json.loads(metadata["model_config"]), indent=2) + "\n"}
        texts |= {"README.md": card} if card is not None else {}
        write_folder(path, state, "model.safetensors", texts, metadata, overwrite=overwrite)
        return
    with _written(path, folder=False, overwrite=overwrite), atomic_path(path) as temporary:
        _write_file(_independent(state), temporary, metadata, file_format)


def write_folder(
    folder: Path,
    state: Mapping[str, Tensor],
    name: str,
    texts: Mapping[str, str],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a folder with ``state`` in the safetensors file ``name`` and the text files ``texts``.

    All files are complete before the first is in place.

    Raises:
        UserError: ``folder`` exists, or cannot be written.
    """
    with _written(folder, folder=True, overwrite=overwrite):
        folder = folder.resolve()
        staging = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        try:
            staging.mkdir()
            for file, text in texts.items():
                write_text(staging / file, text)  # for its syncing
            with atomic_path(staging / name) as temporary:
                _write_file(_independent(state), temporary, dict(metadata or {}), "safetensors")
            if not folder.exists():
                os.replace(staging, folder)  # noqa: PTH105
            else:
                for file in (name, *texts):
                    os.replace(staging / file, folder / file)  # noqa: PTH105
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _written(path: Path, *, folder: bool, overwrite: bool) -> Iterator[None]:
    """While open, ``path`` is written: what stands in its way, and what goes wrong, is one sentence."""
    if not overwrite:
        refuse_existing(path)
    try:
        if path.is_dir() != folder and path.exists():
            kind, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise UserError(f"{path} is a {kind}; give the path of a {wanted}")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
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
