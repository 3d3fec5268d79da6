"""Trains 10 rounds on two processes, each with its own data, one batch of rank 1 not finite and no memory free on it.

Run by the tests.

Usage: ``python host_test_two_ranks.py OUT``; writes OUT/rank-0.pt and OUT/rank-1.pt.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from host_test_configs import audio, changed, fit, make_wrapper, model_config, sgd

ROUNDS = 10
#: Batches before the bad one.
BAD = 4
#: Of everything but spectra and losses, so that two ranks and one process can be compared.
PRECISION = "64-true"


def config() -> dict[str, Any]:
    """Only values that are means over clips, so that two ranks are one process with a batch of twice the size."""
    config = changed(model_config(sample="never"), "training.use_ema", True)
    config = changed(config, "training.loss_configs.discriminator.weights", {"adversarial": 0.1})
    config = changed(config, "model.decoder.config.gradient_checkpointing", "auto")
    return changed(config, "training.optimizer_configs", {"autoencoder": sgd(1e-3), "discriminator": sgd(1e-2)})


def rank_batches(rank: int) -> list[Any]:
    """Other clips on each rank."""
    return [(audio(1, seed=100 * i + rank).double(), ({},)) for i in range(ROUNDS)]


class RankData(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        data = rank_batches(self.trainer.global_rank)
        reals = audio(1).double()
        if self.trainer.global_rank == 1:
            reals[0, 0, 5] = float("nan")
        data.insert(BAD, (reals, ({},)))
        return torch.utils.data.DataLoader(data, batch_size=None)


class Rounds(pl.Callback):
    """Finished rounds after each batch."""

    def __init__(self) -> None:
        self.rounds: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.rounds.append(pl_module.rounds)


def main(out: Path) -> None:
    import ear_sat
    from ear_sat.host import memory_plan

    torch.set_num_threads(1)
    ear_sat.register()
    memory_plan.free_memory = lambda device, sharing: 0.0 if os.environ.get("LOCAL_RANK") == "1" else math.inf
    wrapper, rounds = make_wrapper(config()), Rounds()
    options = {"devices": 2, "strategy": "ddp_find_unused_parameters_true", "use_distributed_sampler": False}
    trainer = fit(wrapper, RankData(), rounds, precision=PRECISION, **options)
    result = {"state": dict(wrapper.state_dict()), "rounds": rounds.rounds, "faults": wrapper.faults.total}
    result["checkpointing"] = wrapper.autoencoder.decoder.gradient_checkpointing
    torch.save(result, out / f"rank-{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
