"""Trains 10 rounds on two processes, each with its own data, one batch of rank 1 not finite and no memory free on it.

Run by the tests.

Usage: ``python host_test_two_ranks.py OUT [fp16] [balance]``; writes OUT/rank-0.pt and OUT/rank-1.pt. With fp16 the
precision is 16-mixed, with a loss scale that is far too large at first; with balance, entries have shares.
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
from pytorch_lightning import plugins

ROUNDS = 10
#: Batches before the bad one.
BAD = 4
#: Of everything but spectra and losses, so that two ranks and one process can be compared.
PRECISION = "64-true"
#: Of the losses in fp16 at first; its largest number is 65,504.
SCALE = 2.0**24


def config() -> dict[str, Any]:
    """Only values that are means over clips, so that two ranks are one process with a batch of twice the size."""
    config = changed(model_config(sample="never"), "training.use_ema", True)
    config = changed(config, "training.loss_configs.discriminator.weights", {"adversarial": 0.1})
    config = changed(config, "training.loss_configs.bottleneck.target_kl", 0.1)
    config = changed(config, "model.decoder.config.gradient_checkpointing", "auto")
    return changed(config, "training.optimizer_configs", {"autoencoder": sgd(1e-3), "discriminator": sgd(1e-2)})


def balanced() -> dict[str, Any]:
    """The same with weights that follow from gradients, and a paired form beside another in one discriminator."""
    entry = config()["training"]["loss_configs"]["discriminator"]
    members = [
        {"type": entry["type"], "config": {**entry["config"], "loss": form}} for form in ("relativistic", "hinge")
    ]
    combined = {**entry, "type": "combined", "config": {"discriminators": members}}
    changes = changed(config(), "training.loss_configs.discriminator", combined)
    changes = changed(changes, "training.optimizer_configs", {"autoencoder": sgd(1e-6), "discriminator": sgd(1e-3)})
    shares = {"time": 0.5, "correlation": 0.3, "discriminator": 0.2}
    return changed(changes, "training.balance", {"type": "gradient", "every": 100, "shares": shares})


def rank_batches(rank: int) -> list[Any]:
    """Other clips on each rank."""
    return [(audio(1, seed=100 * i + rank).double(), ({},)) for i in range(ROUNDS)]


class RankData(pl.LightningDataModule):
    def __init__(self, half: bool) -> None:
        super().__init__()
        self.half = half

    def train_dataloader(self) -> Any:
        data = rank_batches(self.trainer.global_rank)
        if self.half:
            data = [(reals.float(), infos) for reals, infos in data]
        reals = audio(1).to(data[0][0])
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


def scaler_plugin() -> Any:
    """Lightning's own takes a GPU's scaler."""
    amp = getattr(plugins, "MixedPrecision", None) or plugins.MixedPrecisionPlugin  # its name before Lightning 2.2
    return amp("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=1000))


def main(out: Path, half: bool, balance: bool) -> None:
    import ear_sat
    from ear_sat.training import memory_plan

    torch.set_num_threads(1)
    ear_sat.register()
    memory_plan.free_memory = lambda device, sharing: 0.0 if os.environ.get("LOCAL_RANK") == "1" else math.inf
    wrapper, rounds = make_wrapper(balanced() if balance else config()), Rounds()
    options = {"devices": 2, "strategy": "ddp_find_unused_parameters_true", "use_distributed_sampler": False}
    precision = {"plugins": [scaler_plugin()]} if half else {"precision": PRECISION}
    trainer = fit(wrapper, RankData(half), rounds, **precision, **options)
    result = {"state": dict(wrapper.state_dict()), "rounds": rounds.rounds, "faults": wrapper.faults.total}
    result["scale"] = trainer.precision_plugin.scaler.get_scale() if half else 1.0
    result["kl_weight"] = wrapper.kl_target.weight
    result["checkpointing"] = wrapper.autoencoder.decoder.gradient_checkpointing
    result["balance"] = wrapper.balance.state_dict() if balance else {}
    torch.save(result, out / f"rank-{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), half="fp16" in sys.argv[2:], balance="balance" in sys.argv[2:])
