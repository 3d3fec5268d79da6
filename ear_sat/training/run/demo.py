"""Listening examples during training: the same clips every time, target and estimate, with spectrograms."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from ...report.audio import save_audio
from ...report.plots import save_spectrograms
from ...value_types import Range, Size
from ..round import Batch, audio_of, reconstruct
from ..wrapper import EarTrainingWrapper
from .rounds import rounds_of

logger = logging.getLogger(__name__)


class EarDemoCallback(pl.Callback):
    """Writes ``demos/step-N/clip-i.{target,estimate}.wav`` and ``clip-i.png`` into the run folder.

    Args:
        demo_dl: data loader; its first items are the clips of the whole run, unless :attr:`clips` is set. A stream,
            which cannot be read twice, gives those of the first batch that is trained on.
        sample_rate: Hz.
        demo_every: rounds between demos; the first is written after the first round.
        max_demos: number of clips.
        folder: where to write; None for ``demos`` below the trainer's default folder.
    """

    def __init__(
        self,
        demo_dl: DataLoader[Any],
        sample_rate: int,
        demo_every: Annotated[int, Range(at_least=1, unit="rounds")] = 2000,
        max_demos: Size = 2,
        folder: str | Path | None = None,
    ) -> None:
        self.demo_every, self.max_demos, self.sample_rate, self.folder = demo_every, max_demos, sample_rate, folder
        self._loader = demo_dl
        self.clips: Tensor | None = None  # (clips, channels, time)
        self._last = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = rounds_of(trainer, pl_module)  # of a resumed run: written before it stopped

    @rank_zero_only
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if self.clips is None and is_stream(self._loader):
            self.clips = audio_of(batch)[: self.max_demos].detach().to("cpu", copy=True)

    @rank_zero_only
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        rounds = rounds_of(trainer, pl_module)
        if rounds != self._last and rounds > 0 and (rounds == 1 or rounds % self.demo_every == 0):
            self.write(trainer, pl_module)

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if rounds_of(trainer, pl_module) not in (0, self._last):
            self.write(trainer, pl_module)

    def write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the clips of this round; a full disk costs the demo, not the run."""
        self._last = rounds_of(trainer, pl_module)
        target = self._first_clips().to(pl_module.device)
        assert isinstance(pl_module, EarTrainingWrapper)
        estimate = reconstruct(pl_module, target).float()
        folder = Path(self.folder or Path(trainer.default_root_dir) / "demos") / f"step-{self._last}"
        try:
            for i, (preds, reals) in enumerate(zip(estimate.cpu(), target.float().cpu(), strict=True)):
                self._write_clip(folder, i, preds, reals, trainer)
        except OSError as error:
            logger.warning("demo of round %d not written: %s", self._last, error)

    def _write_clip(self, folder: Path, i: int, preds: Tensor, reals: Tensor, trainer: pl.Trainer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_audio(folder / f"clip-{i}.target.wav", reals, self.sample_rate)
        save_audio(folder / f"clip-{i}.estimate.wav", preds, self.sample_rate)
        save_spectrograms(folder / f"clip-{i}.png", preds, reals, self.sample_rate)
        for lightning_logger in trainer.loggers:
            if isinstance(lightning_logger, WandbLogger):
                import wandb

                audio = wandb.Audio(str(folder / f"clip-{i}.estimate.wav"), sample_rate=self.sample_rate)
                picture = wandb.Image(str(folder / f"clip-{i}.png"))
                lightning_logger.experiment.log({f"demo/audio-{i}": audio, f"demo/spectrogram-{i}": picture})

    def _first_clips(self) -> Tensor:
        if self.clips is None:
            dataset: Any = self._loader.dataset
            self.clips = torch.stack([dataset[i][0] for i in range(min(self.max_demos, len(dataset)))])
        return self.clips


def is_stream(loader: Any) -> bool:
    """Whether the loader's data come one after the other, and not by their numbers."""
    dataset = getattr(loader, "dataset", None)
    return not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"))
