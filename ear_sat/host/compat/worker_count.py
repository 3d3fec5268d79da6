"""How many processes the host's loaders read with, and how these hand their batches over.

The host sets ``persistent_workers=True``, which torch refuses together with ``num_workers=0``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ...data.shared_memory import InSharedMemory, audio_batch_bytes, settle_workers


def settled_workers(
    dataset_config: Mapping[str, Any],
    batch_size: int,
    sample_size: int,
    sample_rate: int,
    audio_channels: int,
    num_workers: int,
    free: int | None = None,
) -> int:
    """``num_workers``, or as many as there is shared memory for: bytes ``free``, by default those that are.

    The other arguments are those of the host's factory.
    """
    if dataset_config.get("dataset_type") == "pre_encoded":
        batch_bytes = batch_size * _latent_bytes(dataset_config)
    elif dataset_config.get("pre_encoded"):
        return num_workers  # latents in shards, which are small
    else:
        batch_bytes = audio_batch_bytes(batch_size, audio_channels, sample_size)
    return settle_workers(num_workers, batch_bytes, free)


def _latent_bytes(dataset_config: Mapping[str, Any]) -> int:
    """Of the first file of latents; 0 where the host will say what is wrong."""
    with contextlib.suppress(OSError, TypeError, LookupError, AttributeError, StopIteration):
        path = dataset_config["datasets"][0]["path"]
        return next(Path(path if isinstance(path, str) else path[0]).rglob("*.npy")).stat().st_size
    return 0


@contextlib.contextmanager
def mended_loaders(num_workers: int) -> Iterator[None]:
    """While open, data loaders share their batches where errors are seen, and without workers keep none."""
    import webdataset as wds

    def mended(kind: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> Any:
            if num_workers == 0:
                kwargs["persistent_workers"] = False
            if "collate_fn" in kwargs:
                kwargs["collate_fn"] = InSharedMemory(kwargs["collate_fn"])
            return kind(*args, **kwargs)

        return make

    loaders = [(torch.utils.data, "DataLoader"), (wds, "WebLoader")]
    originals = [getattr(module, name) for module, name in loaders]
    try:
        for (module, name), original in zip(loaders, originals, strict=True):
            setattr(module, name, mended(original))
        yield
    finally:
        for (module, name), original in zip(loaders, originals, strict=True):
            setattr(module, name, original)
