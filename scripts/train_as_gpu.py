"""train.py on the CPU with a GPU's rounding, to choose a precision by training; the same flags.

    python scripts/train_as_gpu.py --precision bf16-mixed --model-config … --dataset-config …

Without --precision, or with 32, convolutions multiply TF32's 10 bits as they do on a GPU. 16-mixed, which Lightning
refuses on a CPU, scales its losses as on a GPU. Two to three times slower than train.py.
"""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
import torch
from gpu_arithmetic import GpuArithmetic
from pytorch_lightning import plugins

from ear_sat.cli import errors, train
from ear_sat.training.run import trainer


class CpuTrainer(pl.Trainer):
    """Lightning's, with fp16 on the CPU."""

    def __init__(self, **options: Any) -> None:
        if options["precision"] == "16-mixed":
            amp = getattr(plugins, "MixedPrecision", None) or plugins.MixedPrecisionPlugin  # before Lightning 2.2
            scaled = amp("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
            options |= {"precision": None, "plugins": [*options["plugins"], scaled]}
        super().__init__(**options)


def main() -> int:
    torch.set_num_threads(1)
    trainer.pl.Trainer = CpuTrainer  # type: ignore[misc]
    with GpuArithmetic():
        return train.main(["--accelerator", "cpu", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(errors.run(main))
