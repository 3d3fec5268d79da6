"""What goes wrong within a training: batches that are not finite, a rank that dies, memory that grows."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults_material import Case, Material, new_run, write_configs
from faults_outcome import HANG, LOST, SILENT, TRACEBACK, Outcome, judge, lost_in
from faults_process import ENVIRONMENT, Child, Work

ROOT = Path(__file__).resolve().parents[1]
#: Batches in a row that stop a run of these.
MAX_BAD = 4
#: Rounds of the run whose memory is watched, and the part of them after which it must be flat.
LONG, SETTLED = 10_000, 0.1
_LOGGED = 5
#: What its resident memory may still gain, in MiB.
GAIN = 8.0
#: Seconds within which the other rank must end; the product's own waiting is shorter.
ALONE = 90.0
#: Seconds within which two ranks must have done two rounds.
_STARTED = 300.0
_BAD = (float("nan"), float("inf"), 1e30)


def cases(material: Material) -> list[Case]:
    """The long run first, for it takes the longest."""
    rounds = max(200, material.count(LONG))
    found = [Case("training: memory", f"{rounds} rounds", _memory(rounds))]
    for turn in range(material.count(4)):
        found.append(Case("training: death of a rank", f"rank {1 - turn % 2}", _death(1 - turn % 2)))
    for turn in range(material.count(10)):
        found.append(Case("training: bad batches", "some", _some_bad))
        if turn % 2 == 0:
            found.append(Case("training: bad batches", "too many", _too_many_bad))
    return found


def _train(rounds: int, every: int, callback: Callable[[], Any]) -> Work:
    """A new run with a Lightning callback more, as a command."""

    def work() -> int:
        from ear_sat.cli import errors
        from ear_sat.cli.train import _builders
        from ear_sat.training.run.options import TrainOptions
        from ear_sat.training.run.train import train

        class Builders(type(_builders())):  # type: ignore[misc]
            def job(self, model_config: Any, options: Any) -> Any:
                job = super().job(model_config, options)
                callbacks = job.callbacks
                job.callbacks = lambda *arguments: [callback(), *callbacks(*arguments)]
                return job

        options = TrainOptions(
            model_config=Path("model.json"),
            dataset_config=Path("data.json"),
            name="run",
            batch_size=2,
            num_workers=0,
            accelerator="cpu",
            seed=3,
            max_steps=rounds,
            checkpoint_every=every,
        )
        return errors.run(lambda: train(options, Builders()) and 0)

    return work


def _spoil(bad: set[int], value: float) -> Callable[[], Any]:
    """A callback that puts ``value`` into a sample of the batches with these numbers."""

    def make() -> Any:
        from itertools import count

        import pytorch_lightning as pl

        class Spoil(pl.Callback):
            numbers = count(1)

            def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
                if next(self.numbers) in bad:
                    batch[0][0, 0, 7] = value

        return Spoil()

    return make


def _some_bad(folder: Path, rng: random.Random) -> Outcome:
    """No more in a row than a run bears: skipped and counted, and the others do all rounds."""
    rounds = 12
    bad = set(rng.sample(range(1, rounds), rng.randrange(1, MAX_BAD)))
    write_configs(folder, max_bad_batches=MAX_BAD)
    done = Child(_train(rounds, 100, _spoil(bad, rng.choice(_BAD))), folder).wait()

    def wrong() -> str:
        import torch

        checkpoint = torch.load(folder / "runs" / "run" / "checkpoints" / "last.ckpt", weights_only=True)
        counts = checkpoint["ear_sat"]
        if (counts["rounds"], counts["bad_batches"]) != (rounds, len(bad)):
            return f"{len(bad)} of the batches were bad, and the checkpoint says {counts}"
        if not all(value.isfinite().all() for value in checkpoint["state_dict"].values()):
            return "weights are not finite"
        return "" if f"{len(bad)} batches were skipped" in done.out else "the bad batches are not told"

    return judge(done, folder, wrong, codes=(0,))


def _too_many_bad(folder: Path, rng: random.Random) -> Outcome:
    """In a row: the run stops with a sentence, and the last good checkpoint stays."""
    first = rng.randrange(4, 12)
    write_configs(folder, max_bad_batches=MAX_BAD)
    done = Child(_train(100, 3, _spoil(set(range(first, first + 100)), rng.choice(_BAD))), folder).wait()
    outcome = judge(done, folder, codes=(1,))
    if "batches in a row were not finite" not in done.err:
        return Outcome(outcome.kind if outcome.kind != "held" else SILENT, outcome.detail)
    return outcome if (folder / "runs/run/checkpoints/last.ckpt").exists() else Outcome(LOST, "no checkpoint is left")


def _death(rank: int) -> Callable[[Path, random.Random], Outcome]:
    """One of two ranks is killed: the other ends soon with a message, and the checkpoint stays."""

    def run(folder: Path, rng: random.Random) -> Outcome:
        write_configs(folder)
        words = ["train", *new_run("run"), "--devices", 2, "--max-steps", 1_000_000, "--checkpoint-every", 2]
        command = [sys.executable, "-m", "ear_sat", *map(str, words)]
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
        log = folder / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        try:
            return _kill_one(folder, process, rank, rng)
        finally:
            for pid in {process.pid, *_children(process.pid)}:
                _kill(pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return run


def _kill_one(folder: Path, process: subprocess.Popen[bytes], rank: int, rng: random.Random) -> Outcome:
    checkpoint, log = folder / "runs" / "run" / "checkpoints" / "step-2.ckpt", folder / "log"
    end = time.monotonic() + _STARTED
    while not checkpoint.exists():
        if process.poll() is not None or time.monotonic() > end:
            return Outcome(SILENT, f"two ranks do not train: {log.read_text()[-400:]}")
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 1))
    other = _ranks(process.pid)[1]
    dying, living = (process.pid, other) if rank == 0 else (other, process.pid)
    _kill(dying)
    end = time.monotonic() + ALONE
    while _lives(living):
        process.poll()
        if time.monotonic() > end:
            return Outcome(HANG, f"the other rank still lives after {ALONE:.0f} s; {log.read_text()[-300:]}")
        time.sleep(0.05)
    text = log.read_text()
    if "Traceback (most recent call last)" in text:
        return Outcome(TRACEBACK, text.strip()[-400:])
    if lost := lost_in(folder, {}, leftovers=False):
        return Outcome(LOST, lost)
    if "error: " not in text:
        return Outcome(SILENT, f"the other rank says nothing: {text.strip()[-300:]}")
    return Outcome("held", text.strip().splitlines()[-1])


def _ranks(first: int) -> tuple[int, int]:
    """Process ids of rank 0 and of the rank 1 that it started."""
    for pid in _children(first):
        if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes():
            return first, pid
    raise RuntimeError(f"process {first} has started no rank 1")


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.glob("*/children") for child in task.read_text().split()]


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _memory(rounds: int) -> Callable[[Path, random.Random], Outcome]:
    """A long run whose memory must be flat once all has been made that is made once."""

    def watch() -> Any:
        import pytorch_lightning as pl

        class Watch(pl.Callback):
            def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
                if pl_module.rounds in (int(SETTLED * rounds), rounds):
                    pages = int(Path("/proc/self/statm").read_text().split()[1])
                    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
                    with Path("memory.jsonl").open("a", encoding="utf-8") as file:
                        file.write(json.dumps([pl_module.rounds, megabytes]) + "\n")

        return Watch()

    def run(folder: Path, rng: random.Random) -> Outcome:
        write_configs(folder, size=1024, log_every=_LOGGED, demo={"demo_every": 10_000_000})
        done = Child(_train(rounds, max(1, rounds // 10), watch), folder).wait(limit=1800)
        outcome = judge(done, folder, codes=(0,))
        if outcome.kind != "held":
            return outcome
        (first, before), (last, after) = map(json.loads, (folder / "memory.jsonl").read_text().splitlines())
        with (folder / "runs" / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = sum(bool(row["train/loss/total"]) for row in csv.DictReader(file))
        told = f"{before:.1f} MiB after {first} rounds, {after:.1f} MiB after {last}; {done.seconds:.0f} s"
        if rows != 1 + rounds // _LOGGED:  # the first round is logged as well
            return Outcome(LOST, f"{rows} rows for {rounds} rounds")
        return Outcome("held" if after - before <= GAIN else SILENT, told)

    return run
