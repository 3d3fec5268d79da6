"""One clip that training never sees, measured against itself reconstructed: before, after and in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ...data import DATASET_TYPES, create_dataset
from ...losses import LossBundle
from ...metrics import evaluate_pair
from ..round import reconstruct
from .rounds import rounds_of

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
    """A clip (channels, time) on the CPU, and the metrics and terms to measure on it.

    Args:
        clip: the audio.
        sample_rate: Hz.
        bundle: the training's loss terms, where it has ours.
    """

    def __init__(self, clip: Tensor, sample_rate: int, bundle: LossBundle | None = None) -> None:
        self.clip, self.sample_rate, self.bundle = clip, sample_rate, bundle

    @property
    def columns(self) -> list[str]:
        """Headings: metrics, then the unweighted loss terms."""
        entries = {} if self.bundle is None else self.bundle.entries
        return [*METRICS, *(f"{name}/{part}" for name, e in entries.items() for part in e.weights)]

    @torch.no_grad()
    def measure(self, preds: Tensor) -> list[float]:
        """Values of :attr:`columns` for an estimate of the clip's shape."""
        preds = preds.float().cpu()
        metrics: Mapping[str, float] = evaluate_pair(preds, self.clip, self.sample_rate, names=METRICS)
        values = [metrics[name] for name in METRICS]
        if self.bundle is None:
            return values
        device = next((b.device for b in self.bundle.buffers()), torch.device("cpu"))
        raw = self.bundle(preds.unsqueeze(0).to(device), self.clip.unsqueeze(0).to(device)).raw
        return values + [value.item() for value in raw.values()]

    def noise(self) -> list[float]:
        """Values of the clip against noise of its own long-term spectrum."""
        return self.measure(spectral_noise(self.clip))


class HeldOut(pl.Callback):
    """Measures the clip when training starts, every ``every`` rounds, and when it has ended.

    The measurements between are logged as ``held_out/…``, with ``held_out/seconds``: the training time so far, over all
    its sessions and without these measurements.

    Args:
        clip: what to measure on.
        reconstruct: the module's model on a batch (1, channels, time), as it would be exported.
        every: rounds between measurements; 0 for none.
    """

    def __init__(
        self, clip: HeldOutClip, reconstruct: Callable[[Any, Tensor], Tensor] = reconstruct, every: int = 0
    ) -> None:
        self.clip, self.every = clip, every
        self.status = ""
        self._reconstruct = reconstruct
        self._start: Row = []
        self._measured = 0
        self._seconds = 0.0
        self._since = time.monotonic()

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self._seconds + time.monotonic() - self._since}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._seconds = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._measured = rounds_of(trainer, pl_module)
        if trainer.is_global_zero:
            values = self._measure(pl_module)
            self._start = [f"round {self._measured}", *values]
            if self.every and self._measured == 0:
                self._log(trainer, values)
        self._since = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        rounds = rounds_of(trainer, pl_module)
        if not self.every or rounds == self._measured or rounds % self.every or not trainer.is_global_zero:
            return
        self._measured = rounds
        self._seconds += time.monotonic() - self._since
        self._log(trainer, self._measure(pl_module))
        self._since = time.monotonic()

    def rows(self, trainer: pl.Trainer, module: pl.LightningModule, preds: Tensor) -> list[Row]:
        """The row of the start and the row of now; a resumed run starts from its checkpoint.

        Args:
            trainer, module: which tell the round.
            preds: what :meth:`reconstruct` gives now.
        """
        now: Row = [f"round {rounds_of(trainer, module)}", *self.clip.measure(preds)]
        return [now] if self._start[:1] in ([], now[:1]) else [self._start, now]  # one, where nothing was trained

    @torch.no_grad()
    def reconstruct(self, module: pl.LightningModule) -> Tensor:
        """The clip through the module's model, (channels, time) on the CPU."""
        batch = self.clip.clip.unsqueeze(0).to(next(module.parameters()).device)
        # A host's bottleneck draws in eval mode, too: let it be the same draw each time, so that curves compare.
        with torch.random.fork_rng([batch.device] if batch.is_cuda else []):
            torch.manual_seed(0)
            return self._reconstruct(module, batch)[0].float().cpu()

    def _measure(self, module: pl.LightningModule) -> list[float]:
        return self.clip.measure(self.reconstruct(module))

    def _log(self, trainer: pl.Trainer, values: Sequence[float]) -> None:
        log = {f"held_out/{name}": value for name, value in zip(self.clip.columns, values, strict=True)}
        self.status = f"held-out SI-SDR {log['held_out/si_sdr_db']:.1f} dB"
        for logger in trainer.loggers:
            logger.log_metrics({**log, "held_out/seconds": self._seconds}, step=self._measured)


def held_out_clip(
    held_out: Mapping[str, Any] | None,
    hop_length: int,
    sample_rate: int,
    channels: int,
    bundle: LossBundle | None = None,
) -> HeldOutClip | None:
    """The first clip of the held-out set; None where the data set is a stream or sets nothing aside."""
    if held_out is None or held_out.get("dataset_type") not in DATASET_TYPES:
        return None
    size = int(SECONDS * sample_rate) // hop_length * hop_length
    audio, _ = create_dataset(held_out, size, sample_rate, channels)[0]
    return HeldOutClip(audio, sample_rate, bundle)
