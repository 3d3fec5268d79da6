"""The model as reconstruction wants it."""

from __future__ import annotations

import logging
from pathlib import Path

from ..compute import choose_device
from ..models import Autoencoder, chunks_in_words, foreign_layers, optimize_for_inference
from ..weights import Source, load_autoencoder
from .settings import Settings

logger = logging.getLogger(__name__)


def open_model(weights: str | Path | Source, device: str, settings: Settings) -> Autoencoder:
    """Loads an autoencoder for :func:`ear_sat.inference.reconstruct_files`, ready for inference only.

    Args:
        weights: anything that :func:`ear_sat.weights.load_autoencoder` takes.
        device: see :func:`ear_sat.compute.choose_device`.
        settings: ``precision`` and ``compiled`` count.

    Raises:
        UserError: the device or the weights cannot be used.
    """
    return made_ready(load_model(weights, device), settings)


def load_model(weights: str | Path | Source, device: str) -> Autoencoder:
    """The first half of :func:`open_model`: as the weights are, on the device."""
    return load_autoencoder(weights, device=str(choose_device(device)))


def made_ready(model: Autoencoder, settings: Settings) -> Autoencoder:
    """The second half: a model on its device, ready for inference only; says so where its chunks are approximate."""
    if any(not layer.exact for layer in foreign_layers(model)):
        logger.warning("chunks are %s", chunks_in_words(model))
    return optimize_for_inference(model, settings.precision, settings.compiled)
