"""The engine's own training: an autoencoder, with or without a discriminator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from ...config import build
from ...data import CropDataset
from ...errors import UserError
from ..wrapper import EarTrainingWrapper
from .demo import EarDemoCallback, is_stream
from .finish import finish
from .folder import RunFolder
from .held_out import HeldOut, held_out_clip
from .job import Demo, compiles, no_discriminator
from .options import TrainOptions
from .pretrained import start_discriminator
from .summary import print_summary


class AutoencoderJob:
    """A :class:`.job.Job`.

    Args:
        wrapper: the training wrapper, built.
        model_config: what it was built from.
        options: flags; what they say about weights, rounds and clipping is applied to the wrapper.

    Raises:
        UserError: flags that this training cannot follow.
    """

    steps_itself = True
    by_parts = True

    def __init__(self, wrapper: EarTrainingWrapper, model_config: Mapping[str, Any], options: TrainOptions) -> None:
        self.wrapper, self.model_config = wrapper, model_config
        self.total_rounds = wrapper.schedule.total_steps
        self._held_out: HeldOut | None = None
        self._every = options.held_out_every
        if options.reuse_discriminator and wrapper.discriminator is None:
            raise no_discriminator()
        start_discriminator(wrapper, options.pretrained_ckpt_path, options.reuse_discriminator)
        wrapper.accumulate, wrapper.seed = options.accum_batches, options.seed
        if options.gradient_clip_val:
            clip_norms = wrapper.optimizer_configs.clip_norms
            wrapper.optimizer_configs.clip_norms = dict.fromkeys(clip_norms, options.gradient_clip_val)
        if compiles(options):
            for module in (wrapper.autoencoder.encoder, wrapper.autoencoder.decoder, wrapper.discriminator):
                if module is not None:
                    module.compile()

    def check_data(self, loader: DataLoader[Any]) -> None:
        """A data set of ours was built for this model; a host's may yield its latents."""
        if is_stream(loader) or isinstance(loader.dataset, CropDataset):
            return
        channels, expected = len(loader.dataset[0][0]), self.wrapper.autoencoder.out_channels
        if channels != expected:
            raise UserError(
                f"the data set yields items of {channels} channels, and this autoencoder is trained on audio of "
                f"{expected}; give a dataset config of audio, not one of type pre_encoded"
            )

    def demo(self, loader: DataLoader[Any]) -> EarDemoCallback:
        return create_demo(self.model_config, loader)

    def callbacks(self, held_out: Mapping[str, Any] | None, demo: Demo) -> list[pl.Callback]:
        hop, rate = self.wrapper.autoencoder.downsampling_ratio, self.model_config["sample_rate"]
        clip = held_out_clip(held_out, hop, rate, self.model_config.get("audio_channels", 2), self.wrapper.bundle)
        if clip is None:
            return []
        if isinstance(demo, EarDemoCallback):
            demo.clips = clip.clip.unsqueeze(0)  # what the table measures is what one hears
        self._held_out = HeldOut(clip, every=self._every)
        return [self._held_out]

    def print_summary(self, data: str, batch: str, max_rounds: int | None, start: str) -> None:
        print_summary(self.wrapper, self.model_config, data, batch, max_rounds, start)

    def finish(self, run: RunFolder, trainer: pl.Trainer, seconds: float, left_out: Sequence[str]) -> None:
        finish(run, trainer, self.wrapper, seconds, self._held_out, left_out)


def create_demo(model_config: Mapping[str, Any], demo_dl: DataLoader[Any]) -> EarDemoCallback:
    """The demo callback of ``training.demo``."""
    settings = model_config["training"].get("demo", {})
    made = build("training.demo", EarDemoCallback, settings, sample_rate=model_config["sample_rate"], demo_dl=demo_dl)
    assert isinstance(made, EarDemoCallback)
    return made
