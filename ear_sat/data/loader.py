"""Data loaders from a dataset JSON, with the signature of the host's ``create_dataloader_from_config``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import torch
from torch.utils.data import DataLoader

from ..checks import require_flag, require_whole
from ..config import build, check_keys, check_types, choice_error, parameter_names
from ..errors import UserError
from .augment import Augmentation
from .base import CropDataset, Sample
from .demo import DemoDataset
from .folder import FolderDataset
from .sampler import EpochSampler
from .shared_memory import InSharedMemory, audio_batch_bytes, settle_workers

logger = logging.getLogger(__name__)
D = TypeVar("D", bound=CropDataset)

DATASET_TYPES: dict[str, type[CropDataset]] = {"ear_demo": DemoDataset, "ear_audio": FolderDataset}

#: Arguments of data sets that no JSON gives.
GIVEN = ("sample_size", "sample_rate", "channels")


class LoaderKeys(TypedDict, total=False):
    """The keys of a dataset config that are not arguments of its data set.

    Keys:
        dataset_type: ``ear_audio``, ``ear_demo`` or one of the host's.
        drop_last: leave out a last batch that is not full; true by default.
    """

    dataset_type: str
    drop_last: bool


def collate(samples: Sequence[Sample]) -> tuple[torch.Tensor, tuple[dict[str, Any], ...]]:
    """A batch as the host's wrappers take it: audio (batch, channels, samples) and a tuple of infos."""
    audio, infos = zip(*samples, strict=True)
    return torch.stack(audio), infos


def create_dataset(
    dataset_config: Mapping[str, Any], sample_size: int, sample_rate: int, audio_channels: int = 2
) -> CropDataset:
    """The data set that ``dataset_config`` describes; see :func:`create_dataloader`."""
    if "dataset_type" not in dataset_config:
        raise UserError(f"the dataset config needs the key dataset_type: {' or '.join(DATASET_TYPES)}")
    check_types("dataset config", LoaderKeys, dataset_config)
    dataset_type = dataset_config["dataset_type"]
    if dataset_type not in DATASET_TYPES:
        raise choice_error("dataset_type", dataset_type, DATASET_TYPES)
    return build_dataset(DATASET_TYPES[dataset_type], dataset_config, sample_size, sample_rate, audio_channels)


def build_dataset(factory: Callable[..., D], dataset_config: Mapping[str, Any], *sizes: int) -> D:
    """``factory`` called with a config's arguments and with sample size, sample rate and channels."""
    what = f"dataset config of type {dataset_config['dataset_type']}"
    check_keys(what, dataset_config, [*LoaderKeys.__annotations__, *parameter_names(factory, without=GIVEN)])
    arguments = {key: value for key, value in dataset_config.items() if key not in LoaderKeys.__annotations__}
    return build(what, factory, arguments, **dict(zip(GIVEN, sizes, strict=True)))


def create_dataloader(
    dataset_config: Mapping[str, Any],
    batch_size: int,
    sample_size: int,
    sample_rate: int,
    audio_channels: int = 2,
    num_workers: int = 4,
    shuffle: bool = True,
    pad: bool = True,
    *,
    shared_bytes: int | None = None,
) -> DataLoader[Sample]:
    """A data loader for one of :data:`DATASET_TYPES`.

    Batches are (audio (batch, channels, sample_size) float32, tuple of info dictionaries). The order comes from an
    :class:`EpochSampler`, which splits the items among ranks itself: run Lightning with
    ``use_distributed_sampler=False``. A set of fewer items than a batch is served several times per epoch, each time
    with other crops, so that there is a full batch.

    Args:
        dataset_config: "dataset_type", optional "drop_last" (default true: no partial last batch), and the arguments of
            the data set's constructor. It is not written to.
        batch_size: per rank.
        sample_size: samples per crop and channel.
        sample_rate: in Hz.
        audio_channels: 1 or 2.
        num_workers: at most so many processes read, fewer where shared memory is short; 0: this one.
        shuffle: a new order and new crops every epoch; false: always the same.
        pad: fill what is shorter than a crop with zeros; false leaves it as long as it is, for batches of one.
        shared_bytes: shared memory for the workers' batches; None for what is free.

    Raises:
        UserError: an unknown type or key, a value out of range, no usable audio.
    """
    require_whole("batch_size", batch_size, at_least=1)
    require_whole("num_workers", num_workers, at_least=0)
    dataset = create_dataset(dataset_config, sample_size, sample_rate, audio_channels)
    dataset.pad = require_flag("pad", pad)
    drop_last = dataset_config.get("drop_last", True)
    if drop_last and len(dataset) < batch_size:
        times = math.ceil(batch_size / len(dataset))
        logger.warning(
            "the data set has %d items, fewer than a batch of %d: each is used %d times per epoch",
            len(dataset),
            batch_size,
            times,
        )
        dataset.repeat(times)
    num_workers = settle_workers(
        num_workers, audio_batch_bytes(batch_size, dataset.channels, dataset.sample_size), shared_bytes
    )
    sampler = EpochSampler(dataset, shuffle=shuffle, seed=dataset.seed, batch_size=batch_size if drop_last else 1)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=drop_last,
        collate_fn=InSharedMemory(collate),
    )


def held_out_config(dataset_config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config of the music that training on ``dataset_config`` never sees; None where it sets none aside.

    It is measured as it is, every file equally: without augmentation and without the weights of sources.

    >>> held_out_config({"dataset_type": "ear_demo"})["split"], held_out_config({"dataset_type": "ear_audio"})
    ('held_out', None)
    """
    kind = dataset_config.get("dataset_type")
    split = dataset_config.get("split", "train" if kind == "ear_demo" else "all")
    if kind not in DATASET_TYPES or split != "train":
        return None
    changes = parameter_names(Augmentation)
    plain = {key: value for key, value in dataset_config.items() if key not in changes}
    entries = plain.get("datasets")
    if isinstance(entries, list):
        plain["datasets"] = [_unweighted(entry) if isinstance(entry, Mapping) else entry for entry in entries]
    return {**plain, "split": "held_out", "drop_last": False}


def _unweighted(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "weight"}
