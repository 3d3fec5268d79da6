"""A run that is stopped from outside leaves a checkpoint of its last round, the right exit code and the way on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch

pytest.importorskip("pytorch_lightning")

import pytorch_lightning as pl
from torch.utils.data import DataLoader, IterableDataset
from training_test_runs import ENVIRONMENT, NEW_RUN, ROOT

from ear_sat.errors import UserError
from ear_sat.training.run.callbacks import EmptyEpochs, RunCheckpoint
from ear_sat.training.run.options import TrainOptions
from ear_sat.training.run.stopping import PATIENCE, StopOnSignal, after_requeue

TRAIN = [sys.executable, str(ROOT / "scripts" / "train.py")]


def start(folder: Path, name: str, *more: str, **streams: object) -> subprocess.Popen[str]:
    """A run without end, in a process group of its own."""
    command = [*TRAIN, *NEW_RUN, "--name", name, "--checkpoint-every", "100000", "--max-steps", "100000", *more]
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, text=True, start_new_session=True, **streams)  # type: ignore[call-overload]


def wait_for_rounds(run: Path, process: subprocess.Popen[str]) -> None:
    """Until three rounds are logged."""
    metrics = run / "metrics.csv"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 5:  # header, the held-out clip, three
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def rounds(run: Path) -> int:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return int(checkpoint["ear_sat"]["rounds"])


@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("SIGTERM", 2),
        pytest.param("SIGINT", 2, marks=pytest.mark.slow),
        pytest.param("SIGUSR1", 0, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_run_with_a_checkpoint(folder: Path, name: str, workers: int) -> None:
    run = folder / "runs" / "stopped"
    process = start(folder, "stopped", "--num-workers", str(workers), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_rounds(run, process)
    number = getattr(signal, name)
    if name == "SIGINT":  # a terminal sends it to every process
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert f"stopped by {name}; go on with: ear-sat train --resume runs/stopped" in out and "Traceback" not in err
    assert rounds(run) >= 3
    assert (run / "export" / "model.ckpt").exists() == (name == "SIGINT")  # who stops by hand wants what there is
    if name == "SIGTERM":
        limit = str(rounds(run) + 1)
        resumed = subprocess.run(
            [*TRAIN, "--resume", "runs/stopped", "--batch-size", "2", "--num-workers", "0", "--max-steps", limit],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert resumed.returncode == 0, resumed.stderr
        assert rounds(run) == int(limit)


class Nothing(IterableDataset[torch.Tensor]):
    """Data of which everything was rejected."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(())


class Still(pl.LightningModule):
    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        raise AssertionError("there is no batch")

    def configure_optimizers(self) -> None:
        return None


def test_data_that_yield_nothing_end_the_run() -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=[EmptyEpochs()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.raises(UserError, match="the data set gives no batch"):
        trainer.fit(Still(), DataLoader(Nothing(), batch_size=None))


def test_a_second_signal_ends_a_round_that_does_not_end() -> None:
    stop = StopOnSignal(cast("RunCheckpoint", None))
    stop.handle(signal.SIGTERM, None)
    stop.handle(signal.SIGTERM, None)  # a launcher's, at once
    assert stop.received == signal.SIGTERM
    stop.since -= PATIENCE + 1
    with pytest.raises(KeyboardInterrupt):
        stop.handle(signal.SIGTERM, None)


@pytest.mark.slow
def test_the_clock_writes_checkpoints_too(folder: Path) -> None:
    process = start(folder, "timed", "--checkpoint-minutes", "1e-6", "--num-workers", "0", stderr=subprocess.PIPE)
    wait_for_rounds(folder / "runs" / "timed", process)
    process.kill()
    process.communicate()
    checkpoints = folder / "runs" / "timed" / "checkpoints"
    assert [path.name for path in checkpoints.glob("*.ckpt")] == ["last.ckpt"]
    assert rounds(folder / "runs" / "timed") >= 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.slow
def test_an_output_that_takes_nothing_does_not_end_the_run(folder: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = start(folder, "full", "--max-steps", "4", "--num-workers", "0", stdout=full, stderr=full)
        assert process.wait(timeout=120) == 0
    assert rounds(folder / "runs" / "full") == 4 and (folder / "runs" / "full" / "export" / "model.ckpt").exists()


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_end_the_run(folder: Path) -> None:
    process = start(
        folder, "head", "--max-steps", "4", "--num-workers", "0", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert rounds(folder / "runs" / "head") == 4


def test_a_requeued_job_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TrainOptions(model_config="m.json", name="mine", save_dir=tmp_path, ckpt_path=Path("start.ckpt"))
    checkpoints = tmp_path / "mine" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for count, saved in (("1", False), ("0", True), (None, True), ("1", True)):
        if count is None:
            monkeypatch.delenv("SLURM_RESTART_COUNT")
        else:
            monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        if saved:
            (checkpoints / "last.ckpt").touch()
        goes_on = count == "1" and saved
        then = after_requeue(options)
        assert then.resume == (tmp_path / "mine" if goes_on else None), (count, saved)
        assert then.ckpt_path == (None if goes_on else Path("start.ckpt"))
