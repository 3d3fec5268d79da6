"""The host's training of its own models, inside a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader

from ...checks import require_number
from ...training.round import reconstruct
from ...training.run.finish import finish_export
from ...training.run.folder import RunFolder
from ...training.run.held_out import HeldOut, held_out_clip
from ...training.run.job import Demo, no_discriminator
from ...training.run.options import TrainOptions
from .data import check_loader
from .demo import create_demo
from .export import exported_state, trained_model
from .noise import HostNoise
from .summary import print_host_summary


class HostJob:
    """A :class:`ear_sat.training.run.job.Job` around one of the host's wrappers.

    Args:
        wrapper: the host's.
        model_config: what it was built from.
        options: flags.

    Raises:
        UserError: flags that this training cannot follow, or a scale that nothing can be divided by.
    """

    steps_itself = False
    total_rounds: int | None = None

    def __init__(self, wrapper: Any, model_config: Mapping[str, Any], options: TrainOptions) -> None:
        if options.reuse_discriminator:
            raise no_discriminator()
        scale = getattr(getattr(trained_model(wrapper), "pretransform", None), "scale", 1.0)
        require_number("model.pretransform.scale, which latent-stats prints,", scale, above=0)
        self.wrapper, self.model_config, self._seed = wrapper, model_config, options.seed
        self._held_out_every = options.held_out_every
        self.by_parts = not wrapper.automatic_optimization  # the host's own autoencoder wrapper

    def check_data(self, loader: DataLoader[Any]) -> None:
        check_loader(self.wrapper, trained_model(self.wrapper), loader)

    def demo(self, loader: DataLoader[Any]) -> Demo:
        return create_demo(self.model_config, loader)

    def callbacks(self, held_out: Mapping[str, Any] | None, demo: Demo) -> list[pl.Callback]:
        made: list[pl.Callback] = [HostNoise(self._seed)]
        if hasattr(self.wrapper, "autoencoder"):
            model, rate = self.wrapper.autoencoder, self.model_config["sample_rate"]
            clip = held_out_clip(held_out, model.downsampling_ratio, rate, model.out_channels)
            made += [] if clip is None else [HeldOut(clip, _reconstruct, self._held_out_every)]
        return made

    def print_summary(self, data: str, batch: str, max_rounds: int | None, start: str) -> None:
        print_host_summary(self.wrapper, self.model_config, data, batch, max_rounds, start)

    def finish(self, run: RunFolder, trainer: pl.Trainer, seconds: float, left_out: Sequence[str]) -> None:
        finish_export(run, exported_state(self.wrapper), trainer.global_step, seconds, left_out)


class _Exported(NamedTuple):
    """:class:`ear_sat.training.round.Exported` of the host's autoencoder wrapper."""

    exported_autoencoder: Any
    force_input_mono: bool


def _reconstruct(wrapper: Any, audio: Tensor) -> Tensor:
    """What the host's autoencoder wrapper would export makes of ``audio`` (batch, channels, time)."""
    average = wrapper.autoencoder_ema
    model = wrapper.autoencoder if average is None else average.ema_model
    return reconstruct(_Exported(model, wrapper.force_input_mono), audio)
