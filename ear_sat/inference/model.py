"""The model as reconstruction wants it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..compute import choose_device
from ..models import Autoencoder, chunks_in_words, foreign_layers, optimize_for_inference
from ..processes import worker_number
from ..weights import Source, load_autoencoder
from .settings import Settings

logger = logging.getLogger(__name__)


def open_model(weights: str | Path | Source, device: str, settings: Settings, turn: int = 0) -> Autoencoder:
    """Loads an autoencoder for :func:`ear_sat.inference.reconstruct_files`, ready for inference only.

    Args:
        weights: anything that :func:`ear_sat.weights.load_autoencoder` takes.
        device, turn: see :func:`ear_sat.compute.choose_device`.
        settings: ``precision`` and ``compiled`` count.

    Raises:
        UserError: the device or the weights cannot be used.
    """
    return made_ready(load_model(weights, device, turn), settings)


def load_model(weights: str | Path | Source, device: str, turn: int = 0) -> Autoencoder:
    """The first half of :func:`open_model`: as the weights are, on the device."""
    return load_autoencoder(weights, device=str(choose_device(device, turn)))


def made_ready(model: Autoencoder, settings: Settings) -> Autoencoder:
    """The second half: a model on its device, ready for inference only; says so where its chunks are approximate."""
    if any(not layer.exact for layer in foreign_layers(model)):
        logger.warning("chunks are %s", chunks_in_words(model))
    return optimize_for_inference(model, settings.precision, settings.compiled)


@dataclass(frozen=True)
class ModelFile:
    """A model that each of several processes opens for itself.

    Attributes:
        weights, device: see :func:`open_model`.
        settings: of the reconstruction.
        first_turn: the turn of the first process of this machine's rank; see :func:`ear_sat.compute.choose_device`.
    """

    weights: Source
    device: str
    settings: Settings
    first_turn: int = 0

    def open(self) -> Autoencoder:
        """The model, once for each process."""
        return _open(self)


@lru_cache(maxsize=1)
def _open(file: ModelFile) -> Autoencoder:
    return open_model(file.weights, file.device, file.settings, file.first_turn + worker_number())
