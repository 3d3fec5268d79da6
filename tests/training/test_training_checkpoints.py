"""Which rounds a run keeps: the best, the last, and every so many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

pl = pytest.importorskip("pytorch_lightning")

from ear_sat.training.run.callbacks import BEST_METRIC, RunCheckpoint  # noqa: E402
from ear_sat.training.run.folder import RunFolder  # noqa: E402


class Scripted(pl.LightningModule):  # type: ignore[misc,name-defined]
    """A module whose validation after each round says what it is told to."""

    def __init__(self, values: list[float | None]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.values, self.rounds = values, 0
        self.last_log: dict[str, float] = {}
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(-self.weight)  # one more each round
        optimizer.step()
        self.rounds += 1

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Nothing to measure."""

    def on_validation_epoch_end(self) -> None:
        value = self.values[self.rounds - 1]
        if value is not None:
            self.last_log[f"val/{BEST_METRIC}"] = value

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["rounds"] = self.rounds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.rounds = checkpoint["rounds"]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    return run


def fit(run: RunFolder, values: list[float | None], resume: str | None = None, **saving: Any) -> None:
    """One round for each of ``values``, with a validation after each."""
    module = Scripted(values)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=len(values),
        check_val_every_n_epoch=None,
        val_check_interval=1,
        callbacks=[RunCheckpoint(run, **{"every": 100, **saving})],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(torch.zeros(20, 1))
    trainer.fit(module, data, data, ckpt_path=None if resume is None else str(run.checkpoints / resume))


def weight(run: RunFolder, name: str) -> float:
    """How many rounds the weights of a checkpoint have seen."""
    checkpoint = torch.load(run.checkpoints / name, weights_only=True)
    assert checkpoint["state_dict"]["weight"].item() == checkpoint["rounds"]
    return float(checkpoint["rounds"])


def test_the_best_has_the_least_distance(run: RunFolder) -> None:
    fit(run, [3.0, 1.0, 2.0, 1.0, 5.0])
    assert (weight(run, "best.ckpt"), weight(run, "last.ckpt")) == (2, 5)


def test_rounds_without_a_value_are_not_the_best(run: RunFolder) -> None:
    fit(run, [None, None])
    assert not (run.checkpoints / "best.ckpt").exists()
    fit(run, [None, 4.0, None])
    assert weight(run, "best.ckpt") == 2


@pytest.mark.parametrize(("later", "best"), [(2.0, 2), (0.5, 5)])
def test_a_resumed_run_beats_what_it_had(run: RunFolder, later: float, best: int) -> None:
    earlier: list[float | None] = [3.0, 1.0, 2.0, 2.0]
    fit(run, earlier)
    fit(run, [*earlier, later], resume="last.ckpt")
    assert (weight(run, "best.ckpt"), weight(run, "last.ckpt")) == (best, 5)


@pytest.mark.parametrize(("keep", "kept"), [(-1, [2, 4, 5]), (2, [4, 5]), (1, [5]), (0, [])])
def test_the_newest_are_kept(run: RunFolder, keep: int, kept: list[int]) -> None:
    fit(run, [1.0] * 5, every=2, keep=keep)
    steps = {f"step-{n}.ckpt": n for n in kept}
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt", *steps}
    assert {name: weight(run, name) for name in steps} == steps
    assert (weight(run, "best.ckpt"), weight(run, "last.ckpt")) == (1, 5)
