"""The host's loaders set ``persistent_workers=True``, which torch refuses together with ``num_workers=0``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def worker_count_zero(num_workers: int | None) -> Iterator[None]:
    """While open, and only for ``num_workers`` 0, data loaders drop ``persistent_workers``."""
    if num_workers != 0:
        yield
        return
    import webdataset as wds

    def without(kind: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> Any:
            return kind(*args, **{**kwargs, "persistent_workers": False})

        return make

    loaders = [(torch.utils.data, "DataLoader"), (wds, "WebLoader")]
    originals = [getattr(module, name) for module, name in loaders]
    try:
        for (module, name), original in zip(loaders, originals, strict=True):
            setattr(module, name, without(original))
        yield
    finally:
        for (module, name), original in zip(loaders, originals, strict=True):
            setattr(module, name, original)
