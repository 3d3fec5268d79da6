"""How the sections of gpu_check.py train: our wrapper without the host, in a trainer as ``ear-sat train`` has."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import torch
from gpu_section import Section, SkippedError
from gpu_setting import SEED, Setting
from torch import Tensor

#: What training needs beyond the core; the host is not among it.
NEEDS = ("pytorch_lightning", "ema_pytorch")


def require_training() -> None:
    """Raises :class:`SkippedError` where the packages of training are missing."""
    missing = [name for name in NEEDS if util.find_spec(name) is None]
    if missing:
        raise SkippedError(f"{' and '.join(missing)} not installed")


def usual_precision(device: str) -> str:
    """The default of training on ``device``, which is "cuda" or "cpu"."""
    return "bf16-mixed" if device == "cuda" else "32"


def measure_rounds(section: Section, setting: Setting, measure: Callable[[Section, Setting, Tensor], None]) -> None:
    """Calls ``measure`` with one batch of music, as large as fits into the memory."""
    require_training()
    (music,) = setting.music()

    def attempt(size: int) -> None:
        free(setting.device)
        measure(section, setting, music[:size])

    fitting_batch(section, setting.batch, attempt)


def create(config: dict[str, Any], device: str, seed: int = SEED) -> Any:
    """The training wrapper, on ``device``; its weights and every round's randomness come from the one seed."""
    from ear_sat.models import Autoencoder
    from ear_sat.training.factory import create_wrapper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(seed)
        wrapper = create_wrapper(Autoencoder.from_config(config), config["sample_rate"], config["training"])
    wrapper.seed = seed
    return wrapper.to(device)


def settings(device: str, precision: str) -> dict[str, Any]:
    """Arguments of the trainer, as :func:`ear_sat.training.run.trainer.create_trainer` chooses them on one device."""
    from ear_sat.training.run.checkpoint_io import AtomicCheckpointIO

    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    accelerator = "gpu" if device == "cuda" else "cpu"
    return {
        **{"accelerator": accelerator, "devices": 1, "precision": precision, "plugins": [AtomicCheckpointIO()]},
        **{"max_epochs": -1, "num_sanity_val_steps": 0, **dict.fromkeys(off, False)},
    }


class Repeated(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Batches of audio, ready in memory, over and over."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> tuple[Tensor, list[dict[str, Any]]]:
        audio = self.batches[index % len(self.batches)]
        return audio, [{}] * len(audio)


def train(
    wrapper: Any,
    batches: list[Tensor],
    rounds: int,
    setting: Setting,
    precision: str,
    start: Path | None = None,
    before: Callable[[Any], None] | None = None,
    after: Callable[[Any], bool | None] | None = None,
) -> Any:
    """Trains up to ``rounds`` finished rounds, one batch each; returns the trainer.

    Args:
        start: checkpoint to go on from.
        before: called with the trainer before each round.
        after: called with the trainer after each round; the training ends where it returns True.
    """
    import pytorch_lightning as pl

    from ear_sat.training.run.trainer import quiet

    def begin(trainer: Any, *_: Any) -> None:
        if before is not None:
            before(trainer)

    def end(trainer: Any, *_: Any) -> None:
        done = after is not None and after(trainer)
        trainer.should_stop = trainer.should_stop or done or wrapper.rounds >= rounds

    quiet()
    hooks = pl.callbacks.LambdaCallback(on_train_batch_start=begin, on_train_batch_end=end)
    trainer = pl.Trainer(**settings(setting.device, precision), callbacks=[hooks])
    loader = torch.utils.data.DataLoader(Repeated(batches), batch_size=None)
    trainer.fit(wrapper, loader, ckpt_path=None if start is None else str(start))
    return trainer


def free(device: str) -> None:
    """Gives back what the caller has let go of, and begins to count the peak of memory anew."""
    import gc

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def fitting_batch(section: Section, batch: int, attempt: Callable[[int], None]) -> int:
    """The first of ``batch``, its half, … that ``attempt`` finds memory for; says so where it is not the first."""
    while True:
        try:
            attempt(batch)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            section.note(f"A batch of {batch} does not fit into the memory; a batch of {batch // 2} was taken.")
            batch //= 2
            # Outside of this block, where the error no longer holds the tensors of its frames.
        else:
            return batch
        free("cuda")
