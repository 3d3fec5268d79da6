"""The host's custom metadata modules: a Python file with ``get_custom_metadata(info, audio) -> dict``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError


class CustomMetadata:
    """Calls ``get_custom_metadata`` of the module at ``path``; picklable, so that it reaches spawned workers.

    Raises:
        UserError: there is no such file, it does not import, or it lacks the function.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._function: Callable[..., Any] | None = None
        self._load()

    def _load(self) -> Callable[..., Any]:
        if self._function is None:
            if not Path(self.path).is_file():
                raise UserError(f"custom_metadata_module: no such file: {self.path}")
            spec = importlib.util.spec_from_file_location("metadata_module", self.path)
            if spec is None or spec.loader is None:
                raise UserError(f"custom_metadata_module must be a Python file, not {self.path}")
            module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except Exception as error:  # whatever the user's module raises
                raise UserError(f"custom_metadata_module {self.path} does not import: {error!r}") from error
            function = getattr(module, "get_custom_metadata", None)
            if not callable(function):
                raise UserError(f"custom_metadata_module {self.path} has no function get_custom_metadata(info, audio)")
            self._function = function
        return self._function

    def __call__(self, info: dict[str, Any], audio: torch.Tensor) -> dict[str, Any]:
        try:
            extra = self._load()(info, audio)
        except UserError:
            raise
        except Exception as error:  # whatever the user's function raises
            raise UserError(f"get_custom_metadata of {self.path} fails on {info['path']}: {error!r}") from error
        if not isinstance(extra, dict):
            raise UserError(f"get_custom_metadata of {self.path} must return a dict, not {type(extra).__name__}")
        return extra

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_function": None}
