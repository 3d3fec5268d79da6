"""The options of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...processes import cores

#: The host's.
DEFAULT_SEED = 42
#: Flags of the training itself: a resumed run has those of before, unless others are given.
KEPT = (
    "val_dataset_config",
    "remove_pretransform_weight_norm",
    "batch_size",
    "accum_batches",
    "gradient_clip_val",
    "checkpoint_every",
    "checkpoint_minutes",
    "save_top_k",
    "val_every",
    "held_out_every",
    "precision",
    "logger",
)


@dataclass
class TrainOptions:
    """Flags of ``scripts/train.py``; see its ``--help``."""

    model_config: Path | None = None
    dataset_config: Path | None = None
    val_dataset_config: Path | None = None
    name: str | None = None
    save_dir: Path | None = None
    resume: Path | None = None
    ckpt_path: Path | None = None
    pretrained_ckpt_path: Path | None = None
    allow_partial: bool = False
    reuse_discriminator: bool = False
    pretransform_ckpt_path: Path | None = None
    remove_pretransform_weight_norm: str = ""
    batch_size: int = 8
    num_workers: int = field(default_factory=lambda: min(8, cores()))
    seed: int | None = None
    max_steps: int | None = None
    accum_batches: int = 1
    gradient_clip_val: float = 0.0
    checkpoint_every: int = 10000
    checkpoint_minutes: float = 30.0
    save_top_k: int = -1
    val_every: int = -1
    held_out_every: int = 500
    max_minutes: float | None = None
    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = ""
    precision: str | None = None
    logger: str = "csv"
    compile: bool = False

    def kept(self) -> dict[str, str | int | float]:
        """The values of :data:`KEPT` that are not None, as JSON has them; files with their whole path."""
        values = {name: getattr(self, name) for name in KEPT}
        if self.val_dataset_config is not None:
            given = self.val_dataset_config
            values["val_dataset_config"] = str(given.resolve() if given.is_file() else given)
        return {name: value for name, value in values.items() if value is not None}

    @property
    def on_gpu(self) -> bool:
        """Whether the run asks for an NVIDIA GPU, or takes the one there is."""
        return self.accelerator in ("gpu", "cuda") or (self.accelerator == "auto" and torch.cuda.is_available())
