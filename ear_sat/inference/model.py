"""The model as reconstruction wants it."""

from __future__ import annotations

from pathlib import Path

from ..compute import choose_device
from ..models import Autoencoder, optimize_for_inference
from ..weights import load_autoencoder
from .settings import Settings


def open_model(weights: str | Path, device: str, settings: Settings) -> Autoencoder:
    """Loads an autoencoder for :func:`ear_sat.inference.reconstruct_files`, ready for inference only.

    Args:
        weights: anything that :func:`ear_sat.load_autoencoder` takes.
        device: see :func:`ear_sat.compute.choose_device`.
        settings: ``precision`` and ``compiled`` count.

    Raises:
        UserError: the device or the weights cannot be used.
    """
    model = load_autoencoder(weights, device=str(choose_device(device)))
    return optimize_for_inference(model, settings.precision, settings.compiled)
