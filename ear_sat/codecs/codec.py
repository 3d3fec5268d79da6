"""A codec of another library, in a folder on this machine."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch

from ..checks import require_number
from ..config import check_choice
from ..errors import UserError, first_line, in_words
from ..json_file import load_json
from ..models import Autoencoder

#: ``model_type`` of a config.json → module here that builds such models.
KINDS = {"agc": "agc", "dac": "dac", "encodec": "encodec"}
#: What people install for any of them.
EXTRA = "ear-sat[codecs]"


class _Builder(Protocol):
    def build(self, folder: Path, bandwidth: float | None) -> Autoencoder: ...


@dataclass(frozen=True)
class Codec:
    """A codec and its settings.

    Attributes:
        folder: with ``config.json`` and ``model.safetensors``.
        kind: one of :data:`KINDS`.
        bandwidth: kbit/s, of a codec that has several; None: its highest.
    """

    folder: Path
    kind: str
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        check_choice("codec", self.kind, KINDS)
        if self.bandwidth is not None:
            require_number("the bandwidth of a codec", self.bandwidth, above=0, unit="kbit/s")
            if self.kind != "encodec":
                raise UserError(f"{self.folder} has one bandwidth; leave :{self.bandwidth:g} out, which is for EnCodec")

    @property
    def files(self) -> list[Path]:
        """What the model is made of."""
        return [self.folder / "config.json", self.folder / "model.safetensors"]

    @torch.inference_mode(False)  # how far it reaches is measured by its gradient
    def build(self) -> Autoencoder:
        """The model, in eval mode, on the CPU.

        Raises:
            UserError: its library is not installed, or the files are not such a model's.
        """
        builder = cast(_Builder, importlib.import_module(f".{KINDS[self.kind]}", __package__))
        try:
            model = builder.build(self.folder, self.bandwidth)
        except UserError:
            raise
        except ImportError as error:
            raise UserError(
                f"{self.folder} needs {error.name}, which cannot be imported ({first_line(error)}): "
                f"pip install '{EXTRA}'"
            ) from error
        except Exception as error:  # whatever a library raises at files that it cannot use
            raise UserError(
                f"{self.folder} cannot be loaded as a model of type {self.kind}: {in_words(error)}"
            ) from error
        return model.eval().requires_grad_(False)


def kind_of(folder: Path) -> str | None:
    """The ``model_type`` in the ``config.json`` of a folder; None where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    kind = load_json(path).get("model_type")
    return kind if isinstance(kind, str) else None
