"""The host's demo callbacks inside a run: their files land in its ``demos/``, not where the command was called."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import move_data_to_device

from ...config import check_types
from ...errors import REFUSALS, in_words, refusing
from ...training.run.demo import is_stream
from ...value_types import Size

logger = logging.getLogger(__name__)


class DemoNumbers(TypedDict, total=False):
    """Of the host's ``demo`` sections; it looks at them when the first demo is due."""

    demo_every: Size
    demo_steps: Size
    num_demos: Size


class HostDemo(pl.Callback):
    """Calls a demo callback of the host with ``folder`` as the working directory.

    The host's callbacks write ``demo_….wav`` into the working directory and hand that name to wandb; only another
    directory moves both. It is restored whatever happens, and nothing else of the run reads or writes meanwhile.

    Args:
        callback: the host's.
        folder: where its files go; None for the working directory.
        stream: its data come one after the other: the first batch that is trained on is that of the demos.
    """

    def __init__(self, callback: Any, folder: str | Path | None = None, stream: bool = False) -> None:
        self.callback, self.folder = callback, folder
        self._waits = stream and hasattr(callback, "demo_dl")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if hasattr(self.callback, "demo_dl") and not self._waits:
            # Read now, because relative paths of the data lead nowhere from the other directory; and once, because
            # the host's single pass over its loader would end the run at the first demo after it.
            self.callback.demo_dl = itertools.repeat(next(iter(self.callback.demo_dl)))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._waits:
            self._waits = False
            self.callback.demo_dl = itertools.repeat(copy.deepcopy(move_data_to_device(batch, torch.device("cpu"))))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        try:
            with _working_directory(self.folder), _kept_files():
                self.callback.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        except (OSError, *REFUSALS) as error:  # a full disk, a wrong demo section: it costs the demo, not the run
            logger.warning("demo of step %d not written: %s", trainer.global_step, in_words(error))


def create_demo(model_config: Mapping[str, Any], loader: Any) -> HostDemo:
    """The demo callback of a model config.

    Raises:
        UserError: ``training.demo`` lacks something.
    """
    from stable_audio_tools.training import create_demo_callback_from_config

    check_types("training.demo", DemoNumbers, (model_config.get("training") or {}).get("demo") or {})
    with refusing("training.demo of the model config does not fit the host"):
        callback = create_demo_callback_from_config(model_config, demo_dl=_FirstBatch(loader))
    return HostDemo(callback, stream=is_stream(loader))


class _FirstBatch:
    """One batch, read past the loader where possible: a second pass over a running loader restarts its workers."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        dataset = self.loader.dataset
        yield self.loader.collate_fn([dataset[i] for i in range(min(self.loader.batch_size, len(dataset)))])

    def __deepcopy__(self, memo: Any) -> _FirstBatch:
        """0.0.19's demo of an autoencoder copies what it is given, with all the data behind it."""
        return self


@contextlib.contextmanager
def _working_directory(folder: str | Path | None) -> Iterator[None]:
    """contextlib.chdir of Python 3.11; makes the folder."""
    before = Path.cwd()
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _kept_files() -> Iterator[None]:
    """0.0.20's demos delete the ``.wav`` that they wrote into the working directory; here it is what is wanted."""
    remove = os.remove

    def keep(path: Any, *arguments: Any, **keywords: Any) -> None:
        if Path(path).suffix != ".wav" or Path(path).is_absolute():
            remove(path, *arguments, **keywords)

    os.remove = keep
    try:
        yield
    finally:
        os.remove = remove
