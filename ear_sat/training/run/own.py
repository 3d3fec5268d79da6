"""Builds a run of the engine's own training where no host is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader

from ...config import choice_error
from ...data import DATASET_TYPES, create_dataloader
from ...errors import UserError
from ...models import Autoencoder
from ..factory import create_wrapper
from ..trial import try_round
from .autoencoder_job import AutoencoderJob
from .job import Crops, no_pretransform
from .options import TrainOptions
from .pretrained import load_weights

#: What to add to a sentence about something that only a host can do.
NEEDS_HOST = 'it needs stable-audio-tools, which is not installed; run: pip install "ear-sat[sat]"'


class OwnBuilders:
    """:class:`.job.Builders` for models whose parts are all ours."""

    def job(self, model_config: dict[str, Any], options: TrainOptions) -> AutoencoderJob:
        training = model_config.get("training")
        kinds = (model_config.get("model_type"), training.get("type") if isinstance(training, Mapping) else None)
        if kinds != ("autoencoder", "ear"):
            raise UserError(
                'this model config is not of model_type "autoencoder" with training.type "ear": ' + NEEDS_HOST
            )
        if options.remove_pretransform_weight_norm or options.pretransform_ckpt_path:
            raise no_pretransform()
        rate, training = model_config["sample_rate"], model_config["training"]
        crops = Crops.of(model_config)
        try_round(
            lambda: create_wrapper(Autoencoder.from_config(model_config), rate, training),
            crops.audio_channels,
            crops.sample_size,
        )
        model = Autoencoder.from_config(model_config)
        load_weights(model, options)
        wrapper = create_wrapper(model, rate, training)
        wrapper.embedded_config = dict(model_config)
        return AutoencoderJob(wrapper, model_config, options)

    def loader(
        self,
        dataset_config: dict[str, Any],
        crops: Crops,
        batch_size: int,
        num_workers: int,
        shuffle: bool = True,
    ) -> DataLoader[Any]:
        kind = dataset_config.get("dataset_type")
        if str(kind) not in DATASET_TYPES:
            known = choice_error("dataset_type", kind, DATASET_TYPES)
            raise UserError(f"{known}; if it is the host's: {NEEDS_HOST}")
        return create_dataloader(
            dataset_config,
            batch_size,
            *crops,
            num_workers=num_workers,
            shuffle=shuffle,
        )
