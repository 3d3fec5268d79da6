"""Builds a run by the host's factories, with the host's errors in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..config import choice_error
from ..data import DATASET_TYPES
from ..errors import UserError, in_words
from ..training.run.autoencoder_job import AutoencoderJob
from ..training.run.job import Crops, Job, compiles, no_pretransform
from ..training.run.options import TrainOptions
from ..training.run.pretrained import load_strictly, load_weights
from ..training.trial import try_round
from ..training.wrapper import EarTrainingWrapper
from .diffusion.job import HostJob
from .diffusion.pretransform_weights import check_pretransform_weights
from .host_types import branch_types
from .refusals import in_host_words


class HostBuilders:
    """:class:`ear_sat.training.run.job.Builders` by the host's factories, with the host's errors in words."""

    def job(self, model_config: dict[str, Any], options: TrainOptions) -> Job:
        from stable_audio_tools.models.factory import create_model_from_config
        from stable_audio_tools.training import create_training_wrapper_from_config

        def build(prepare: Callable[[Any], None] = lambda model: None) -> Any:
            with in_host_words("the host cannot build this model config"):
                model = create_model_from_config(model_config)
            prepare(model)
            with in_host_words("the host cannot train with this training section"):
                return create_training_wrapper_from_config(model_config, model)

        if (model_config.get("model_type"), model_config["training"].get("type")) == ("autoencoder", "ear"):
            crops = Crops.of(model_config)
            try_round(build, crops.audio_channels, crops.sample_size)
        wrapper = build(partial(_load, options))
        if isinstance(wrapper, EarTrainingWrapper):
            return AutoencoderJob(wrapper, model_config, options)
        with in_host_words("the host cannot train with this training section"):
            wrapper.configure_optimizers()  # Lightning asks for them later; what is wrong with them is said now.
        _log_every_step(wrapper, model_config)
        if compiles(options):
            wrapper.compile()
        return HostJob(wrapper, model_config, options)

    def loader(
        self,
        dataset_config: dict[str, Any],
        crops: Crops,
        batch_size: int,
        num_workers: int,
        shuffle: bool = True,
    ) -> DataLoader[Any]:
        from stable_audio_tools.data.dataset import create_dataloader_from_config

        settings = {**crops._asdict(), "num_workers": num_workers, "shuffle": shuffle}
        try:
            loader = create_dataloader_from_config(dataset_config, batch_size, **settings)
        except (AssertionError, KeyError) as error:
            raise UserError(f"the dataset config does not fit the host: {in_words(error)}") from error
        except ValueError as error:
            if "num_samples" not in str(error):  # torch's word for an empty data set
                raise
            raise UserError("the data set is empty: its folders hold no file of the type it reads") from error
        if loader is None:  # the host's answer to a type it does not know
            theirs = branch_types(create_dataloader_from_config, "dataset_type")
            raise choice_error("dataset_type", dataset_config["dataset_type"], [*DATASET_TYPES, *theirs])
        dataset: Any = getattr(loader, "dataset", None)
        if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and len(loader) == 0:
            # The host drops what does not fill a batch, and would end after no rounds as if all were well.
            raise UserError(
                f"the data set has {len(dataset)} items, fewer than a batch of {batch_size}: lower --batch-size, "
                'or set "drop_last": false in the dataset config'
            )
        made: DataLoader[Any] = loader
        return made


def _log_every_step(wrapper: Any, model_config: Mapping[str, Any]) -> None:
    """0.0.20's wrappers average over ten steps unless told otherwise; a run folder gets a row for each step."""
    staggered = getattr(wrapper, "_staggered_logger", None)
    if staggered is not None and "log_every_n_steps" not in model_config["training"]:
        staggered.every_n_steps = 1


def _load(options: TrainOptions, model: Any) -> None:
    load_weights(model, options)
    if options.remove_pretransform_weight_norm or options.pretransform_ckpt_path:
        _prepare_pretransform(model, options)
    if not (options.resume or options.ckpt_path):  # whose checkpoints bring the weights
        check_pretransform_weights(model)


def _prepare_pretransform(model: Any, options: TrainOptions) -> None:
    from stable_audio_tools.models.utils import remove_weight_norm_from_model

    from ..models import fold_weight_norm

    pretransform = getattr(model, "pretransform", None)
    if pretransform is None:
        raise no_pretransform()

    def fold() -> None:
        fold_weight_norm(pretransform)
        # torch's own form, which is what the host's function removes; it raises on modules that have none.
        for module in pretransform.modules():
            if hasattr(module, "weight_g"):
                remove_weight_norm_from_model(torch.nn.ModuleList([module]))

    if options.remove_pretransform_weight_norm == "pre_load":
        fold()
    if options.pretransform_ckpt_path:
        load_strictly(pretransform.model, options.pretransform_ckpt_path, "the pretransform")
    if options.remove_pretransform_weight_norm == "post_load":
        fold()
