"""One process's share of pre-encoding: windows to files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..compute import choose_device
from ..data.windows import WindowSet
from ..models import Autoencoder, optimize_for_inference
from ..weights import Source
from .latent_files import write_window
from .model_file import read_model
from .posterior import draw
from .stream import LeftOut, encode_windows


@dataclass(frozen=True)
class Share:
    """What one process encodes, and how.

    Attributes:
        weights: file of weights, and what goes with it.
        sample_rate: of the weights, in Hz, where the file does not say it.
        windows: those still to be encoded.
        folder: where they go.
        device, turn: see :func:`ear_sat.compute.choose_device`.
        precision, compiled: see :func:`ear_sat.models.optimize_for_inference`.
        batch_size: see :func:`encode_windows`.
        seed: of the posterior samples; None for the mean.
    """

    weights: Source
    sample_rate: int | None
    windows: WindowSet
    folder: Path
    device: str
    turn: int
    precision: str
    compiled: bool
    batch_size: int
    seed: int | None


class Event(NamedTuple):
    """A window that is done: ``written`` seconds of audio, or the ``reason`` why its file cannot be used."""

    path: str
    written: float = 0.0
    reason: str = ""
    rejected: bool = False


def encode_share(share: Share, model: Autoencoder | None = None) -> Iterator[Event]:
    """Encodes and writes; yields one event per window when its files are on the disk.

    Args:
        share: what to encode.
        model: on the CPU, which is made ready for inference in place; read from ``share.weights`` if None.

    Raises:
        UserError: see :func:`encode_windows` and :func:`write_window`.
    """
    device = choose_device(share.device, share.turn)
    if not share.windows.windows:
        return
    if model is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the process that shares the work out has shown them
            _, model = read_model(share.weights, share.sample_rate)
    optimize_for_inference(model.to(device), share.precision, share.compiled)
    for result in encode_windows(model, share.windows, share.batch_size):
        window = result.window
        if isinstance(result, LeftOut):
            yield Event(window.source.path, reason=result.reason, rejected=result.rejected)
            continue
        latents = result.mean
        if share.seed is not None:
            latents = draw(result.mean, result.std, share.seed, window.source.key, window.number)
        write_window(share.folder, window.name, latents, result.mask, result.info)
        yield Event(window.source.path, written=share.windows.seconds(window))
