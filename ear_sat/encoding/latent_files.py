"""The files of the host's pre-encoded data set: a window's ``.npy`` and the ``.json`` beside it.

``<out>/<rank>/<name>.npy`` holds float32 (latent_dim, frames), not divided by any scale. The ``.json`` is written first
and both are atomic, so a window is complete if and only if its ``.npy`` exists.
"""

from __future__ import annotations

import io
import json
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import UserError
from ..files import atomic_path, stale_files


def write_file(path: Path, content: bytes) -> None:
    """Writes all of ``content`` or nothing.

    Raises:
        UserError: the disk is full or the folder not writable.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; nothing is lost: free some space or make the folder "
            "writable, and the same command continues"
        ) from error


def write_window(folder: Path, name: str, latents: Tensor, mask: Tensor, info: dict[str, Any]) -> None:
    """Writes ``name.json`` and then ``name.npy``.

    Args:
        folder: a rank's.
        name: of the window, without suffix.
        latents: (latent_dim, frames), float32.
        mask: (frames), whole numbers.
        info: further keys of the JSON; tensors and arrays become lists.
    """
    content = {key: plain(value, key) for key, value in info.items()} | {"padding_mask": mask.tolist()}
    array = io.BytesIO()  # numpy's own writing to a file hides why it failed
    np.save(array, np.ascontiguousarray(latents.numpy(), np.float32))
    beside = folder / f"{name}.json"
    write_file(beside, json.dumps(content).encode())
    try:
        write_file(folder / f"{name}.npy", array.getvalue())
    except UserError:
        beside.unlink(missing_ok=True)
        raise


def plain(value: Any, what: str) -> Any:
    """``value`` as JSON has it.

    Raises:
        UserError: it cannot be written as JSON; ``what`` names it.

    >>> import torch
    >>> plain({"tempo": np.float32(120), "tags": ("a", "b"), "curve": torch.zeros(2)}, "info")
    {'tempo': 120.0, 'tags': ['a', 'b'], 'curve': [0.0, 0.0]}
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist(), what)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(item, what) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item, f"{what}.{key}") for key, item in value.items()}
    raise UserError(
        f"get_custom_metadata returns a {type(value).__name__} as {what}, which JSON cannot hold; return numbers, "
        "strings, lists, dicts, arrays or tensors"
    )


def finished_windows(out: Path) -> set[str]:
    """Names of the windows that exist with both files, in the folder of whichever rank."""
    found = (file for folder in _rank_folders(out) for file in folder.glob("*.npy") if file.name[0] != ".")
    return {file.stem for file in found if file.with_suffix(".json").exists()}


def remove_remnants(out: Path, ranks: Container[int] | None = None) -> None:
    """Removes what killed writers left: temporary files, and a ``.json`` whose ``.npy`` was never written.

    Only in the folders of ``ranks``, where others may be writing now.
    """
    for folder in _rank_folders(out):
        if ranks is None or int(folder.name) in ranks:
            lonely = [file for file in folder.glob("*.json") if not file.with_suffix(".npy").exists()]
            for file in [*stale_files(folder), *lonely]:
                file.unlink(missing_ok=True)


def _rank_folders(out: Path) -> list[Path]:
    return [folder for folder in out.iterdir() if folder.is_dir() and folder.name.isdigit()] if out.is_dir() else []
