"""The before/after table: one clip that training never sees, measured against itself reconstructed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ...data import DATASET_TYPES, create_dataset
from ...losses import LossBundle
from ...metrics import evaluate_pair
from ..round import reconstruct
from ..wrapper import EarTrainingWrapper

#: Metrics of the table.
METRICS = ("stft_distance", "mel_distance", "si_sdr_db", "icpc", "ccpc")
#: Length of the clip in seconds.
SECONDS = 6.0
#: A name, then a value per column.
Row = list[str | float]


def spectral_noise(target: Tensor, seed: int = 0) -> Tensor:
    """Gaussian-like noise with the long-term magnitude spectrum of each channel of ``target`` (channels, time).

    What a model scores that has learned the music's average colour and nothing of its course: the phases of the clip's
    spectrum are replaced by random ones.

    >>> x = torch.randn(2, 4096)
    >>> noise = spectral_noise(x)
    >>> bool(torch.allclose(torch.fft.rfft(noise).abs()[:, 1:-1], torch.fft.rfft(x).abs()[:, 1:-1], rtol=1e-2))
    True
    """
    spectrum = torch.fft.rfft(target)
    generator = torch.Generator().manual_seed(seed)
    phase = torch.rand(spectrum.shape, generator=generator) * 2 * math.pi
    noise: Tensor = torch.fft.irfft(spectrum.abs() * torch.exp(1j * phase), n=target.shape[-1])
    return noise


class HeldOutClip:
    """A clip (channels, time) on the CPU and the terms and metrics to measure on it."""

    def __init__(self, clip: Tensor, sample_rate: int, bundle: LossBundle) -> None:
        self.clip, self.sample_rate, self.bundle = clip, sample_rate, bundle

    @property
    def columns(self) -> list[str]:
        """Headings: metrics, then the unweighted loss terms."""
        return [*METRICS, *(f"{name}/{part}" for name, e in self.bundle.entries.items() for part in e.weights)]

    @torch.no_grad()
    def measure(self, preds: Tensor) -> list[float]:
        """Values of :attr:`columns` for an estimate of the clip's shape."""
        preds = preds.float().cpu()
        metrics: Mapping[str, float] = evaluate_pair(preds, self.clip, self.sample_rate, names=METRICS)
        device = next((b.device for b in self.bundle.buffers()), torch.device("cpu"))
        raw = self.bundle(preds.unsqueeze(0).to(device), self.clip.unsqueeze(0).to(device)).raw
        return [metrics[name] for name in METRICS] + [value.item() for value in raw.values()]

    def reconstruct(self, module: EarTrainingWrapper) -> Tensor:
        """The clip through the exported model of a training wrapper."""
        device = next(module.parameters()).device
        return reconstruct(module, self.clip.unsqueeze(0).to(device))[0].cpu()

    def noise(self) -> list[float]:
        """Values of the clip against noise of its own long-term spectrum."""
        return self.measure(spectral_noise(self.clip))


class HeldOutTable(pl.Callback):
    """Measures the clip when training starts and again on :meth:`rows`; a resumed run starts from its checkpoint."""

    def __init__(self, clip: HeldOutClip) -> None:
        self.clip = clip
        self._start: Row = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            assert isinstance(pl_module, EarTrainingWrapper)
            self._start = self._row(pl_module)

    def rows(self, module: EarTrainingWrapper) -> list[Row]:
        """The row of the start and the row of now."""
        return [self._start, self._row(module)]

    def _row(self, module: EarTrainingWrapper) -> Row:
        return [f"round {module.rounds}", *self.clip.measure(self.clip.reconstruct(module))]


def held_out_clip(
    held_out: Mapping[str, Any] | None, hop_length: int, sample_rate: int, channels: int, bundle: LossBundle
) -> HeldOutClip | None:
    """The first clip of the held-out set; None where the data set is a stream or sets nothing aside."""
    if held_out is None or held_out.get("dataset_type") not in DATASET_TYPES:
        return None
    size = int(SECONDS * sample_rate) // hop_length * hop_length
    audio, _ = create_dataset(held_out, size, sample_rate, channels)[0]
    return HeldOutClip(audio, sample_rate, bundle)
