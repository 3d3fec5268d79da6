"""Windows of audio to posteriors, one after the other; files are read ahead in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.base import Sample
from ..data.parts import UnusableFileError
from ..data.windows import NotFiniteError, Window, WindowSet
from ..errors import UserError
from ..models import Autoencoder
from .posterior import encode_posterior

READERS = min(4, os.cpu_count() or 1)  # threads; decoding and resampling run outside Python's lock


@dataclass(frozen=True)
class Encoded:
    """A window's posterior.

    Attributes:
        window: which.
        info: the host's keys and the custom metadata, without "padding_mask".
        mean, std: (latent_dim, frames), float32.
        mask: (frames), 1 where a frame begins inside the file, else 0.
    """

    window: Window
    info: dict[str, Any]
    mean: Tensor
    std: Tensor
    mask: Tensor


@dataclass(frozen=True)
class LeftOut:
    """A window without a posterior: ``reason`` says what is wrong with its file; empty: rejected or absent.

    ``unreadable``: nor is anything of the file behind it tried.
    """

    window: Window
    reason: str = ""
    rejected: bool = False
    unreadable: bool = False


def encode_windows(model: Autoencoder, windows: WindowSet, batch_size: int = 1) -> Iterator[Encoded | LeftOut]:
    """Yields every window of ``windows`` once, nearly in order.

    Args:
        model: in eval mode.
        windows: what to encode.
        batch_size: windows at a time. Results of different batch sizes may differ in their last bits.

    Raises:
        UserError: a custom metadata function fails, or the memory does not suffice.
    """
    batch: list[tuple[Window, Sample]] = []
    for window, sample in _read_ahead(windows, READERS + batch_size):
        if isinstance(sample, LeftOut):
            yield sample
        elif _add_metadata(window, sample):
            batch.append((window, sample))
        else:
            yield LeftOut(window, rejected=True)
        if len(batch) == batch_size:
            yield from _encode(model, batch)
            batch = []
    if batch:
        yield from _encode(model, batch)


def _read_ahead(windows: WindowSet, ahead: int) -> Iterator[tuple[Window, Sample | LeftOut]]:
    # Path → reason. Known in the order of the windows, so that the same ones are left out whoever reads faster.
    unreadable: dict[str, str] = {}

    def read(window: Window) -> Sample | LeftOut:
        if (reason := unreadable.get(window.source.path)) is not None:  # which may have cost a search through the file
            return LeftOut(window, reason)
        try:
            return windows.read(window) or LeftOut(window)
        except UnusableFileError as error:
            return LeftOut(window, str(error), unreadable=not isinstance(error, NotFiniteError))

    def next_result() -> tuple[Window, Sample | LeftOut]:
        window, future = waiting.popleft()
        result, path = future.result(), window.source.path
        if path in unreadable:
            return window, LeftOut(window, unreadable[path])
        if isinstance(result, LeftOut) and result.unreadable:
            unreadable[path] = result.reason
        return window, result

    executor = ThreadPoolExecutor(READERS)
    waiting: deque[tuple[Window, Future[Sample | LeftOut]]] = deque()
    try:
        for window in windows.windows:
            waiting.append((window, executor.submit(read, window)))
            if len(waiting) >= ahead:
                yield next_result()
        while waiting:
            yield next_result()
    finally:
        executor.shutdown(cancel_futures=True)


def _add_metadata(window: Window, sample: Sample) -> bool:
    """Whether the data set's own function accepts the window; its keys are added."""
    audio, info = sample
    if window.source.metadata is not None:
        info.update(window.source.metadata(info, audio))
        if "__audio__" in info:
            raise UserError(
                f"get_custom_metadata of {window.source.metadata.path} returns __audio__, which a file of latents "
                "cannot hold; leave it out for pre-encoding"
            )
    for key in ("load_time", "left_out"):
        info.pop(key, None)
    return not info.pop("__reject__", False)


def _encode(model: Autoencoder, batch: list[tuple[Window, Sample]]) -> Iterable[Encoded | LeftOut]:
    audio = torch.stack([audio for _, (audio, _) in batch])
    means, stds = encode_posterior(model, audio)
    for (window, (_, info)), mean, std in zip(batch, means, stds, strict=True):
        if not (mean.isfinite().all() and std.isfinite().all()):
            yield LeftOut(window, f"NaN or infinite latents in window {window.number}; try --precision 32")
            continue
        mask = info.pop("padding_mask")
        mask = F.interpolate(mask[None, None].float(), size=mean.shape[-1], mode="nearest")[0, 0].int()
        yield Encoded(window, info, mean, std, mask)
