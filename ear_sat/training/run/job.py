"""What differs between kinds of training: the engine's own, and what a host trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from ...compiling import can_compile, keep_compiled_graphs
from ...errors import UserError
from .folder import RunFolder
from .options import TrainOptions


class Demo(Protocol):
    """A Lightning callback that writes examples into ``folder``."""

    folder: str | Path | None


class Job(Protocol):
    """One training, built and not begun."""

    @property
    def wrapper(self) -> pl.LightningModule:
        """The Lightning module."""

    @property
    def steps_itself(self) -> bool:
        """Whether the wrapper accumulates, clips and counts rounds by itself, and not Lightning for it."""

    @property
    def by_parts(self) -> bool:
        """Whether its networks are called one by one, and a backward pass reaches one of two players only."""

    @property
    def total_rounds(self) -> int | None:
        """Where it ends by itself; None for never."""

    def check_data(self, loader: DataLoader[Any]) -> None:
        """Raises :class:`UserError` where the data do not fit the model."""

    def demo(self, loader: DataLoader[Any]) -> Demo:
        """The callback that writes examples, of clips from ``loader``."""

    def callbacks(self, held_out: Mapping[str, Any] | None, demo: Demo) -> list[pl.Callback]:
        """Callbacks of its own; ``held_out`` is the config of the data set aside, if there is one."""

    def print_summary(self, data: str, batch: str, max_rounds: int | None, start: str) -> None:
        """Prints what will be trained, on what, from where."""

    def finish(self, run: RunFolder, trainer: pl.Trainer, seconds: float, left_out: Sequence[str]) -> None:
        """Writes export and pictures into the folder of a run that has ended, and prints its results."""


class Crops(NamedTuple):
    """What a model is trained on: samples, Hz, channels."""

    sample_size: int
    sample_rate: int
    audio_channels: int

    @classmethod
    def of(cls, model_config: Mapping[str, Any]) -> Crops:
        """Those of a model config."""
        return cls(model_config["sample_size"], model_config["sample_rate"], model_config.get("audio_channels", 2))


class Builders(Protocol):
    """Makes what a run needs from its configs, with or without a host."""

    def job(self, model_config: dict[str, Any], options: TrainOptions) -> Job:
        """The training that ``model_config`` describes."""

    def loader(
        self,
        dataset_config: dict[str, Any],
        crops: Crops,
        batch_size: int,
        num_workers: int,
        shuffle: bool = True,
    ) -> DataLoader[Any]:
        """Batches of ``crops``."""


def compiles(options: TrainOptions) -> bool:
    """Whether ``--compile`` was asked for and works here; if so, compiled graphs are kept as training needs them."""
    if not (options.compile and can_compile("cuda" if options.on_gpu else "cpu")):
        return False
    keep_compiled_graphs()
    return True


def no_discriminator() -> UserError:
    """The error for ``--reuse-discriminator`` where there is none."""
    return UserError("this training has no discriminator that could be continued; drop --reuse-discriminator")


def no_pretransform() -> UserError:
    """The error for flags that concern a pretransform where there is none."""
    return UserError("this model has no pretransform; drop the --…pretransform… flags")
