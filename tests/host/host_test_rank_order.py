"""``train.py`` on two processes, each of which writes down what its rounds were trained with. Run by the tests.

Usage: ``python host_test_rank_order.py FILE FLAGS…``. Lines of FILE.0 and FILE.1: the round and its clips' checksum.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from ear_sat.cli import errors, train
from ear_sat.training import wrapper


def main(file: str, flags: list[str]) -> int:
    torch.set_num_threads(1)
    step = wrapper.EarTrainingWrapper.training_step

    def noted(module: Any, batch: Any, index: int) -> None:
        checksum = hashlib.sha256(batch[0].cpu().numpy().tobytes()).hexdigest()
        with Path(f"{file}.{module.global_rank}").open("a", encoding="utf-8") as notes:
            notes.write(f"{module.rounds} {checksum}\n")
        return step(module, batch, index)

    wrapper.EarTrainingWrapper.training_step = noted
    return errors.run(lambda: train.main(flags))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
