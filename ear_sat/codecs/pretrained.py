"""Loads a model of the library transformers from a folder: all of its tensors, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError


def load_pretrained(cls: Any, folder: Path) -> Any:
    """``cls.from_pretrained``, in float32, from files on this machine only.

    Raises:
        UserError: tensors are missing, left over or of another shape, of which the library only warns.
    """
    import torch

    with _quiet():
        model, told = cls.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    wrong = [f"{len(told[kind])} {kind.split('_')[0]} ({_first(told[kind])})" for kind in _KINDS if told.get(kind)]
    if wrong:
        raise UserError(
            f"the tensors in {folder} do not fit its config.json: {', '.join(wrong)}; get both files of one model again"
        )
    return model.to(torch.float32)


_KINDS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def _first(keys: Any) -> str:
    first = sorted(keys, key=str)[0]
    return str(first[0] if isinstance(first, tuple) else first)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While open, the library shows no progress and does not warn of what is refused anyway."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
