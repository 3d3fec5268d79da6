"""Commands that write much, with what they leave when nothing disturbs them: for stops and full disks."""

from __future__ import annotations

import csv
import hashlib
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from faults_material import RATE, SIZE, TRAIN, Material, content, new_run, write_configs
from faults_process import Child, Done, ear_sat

#: Rounds of a training.
ROUNDS = 30
_RESUME = ["train", *TRAIN, "--resume", "runs/run", "--checkpoint-every", 5, "--max-steps", ROUNDS]


class Job(NamedTuple):
    """A command.

    Attributes:
        name: the row of the table.
        lay_out: puts what it reads into a folder.
        command: its words.
        again: the words that go on, from the folder it was stopped in.
        results: what is to be the same whatever happened: name → content.
        processes: whether it takes --processes.
    """

    name: str
    lay_out: Callable[[Material, Path], None]
    command: list[Any]
    again: Callable[[Path], list[Any]]
    results: Callable[[Path], dict[str, Any]]
    processes: bool = True

    def run(self, folder: Path, words: list[Any] | None = None) -> Child:
        """Starts it, or what goes on."""
        return Child(ear_sat(*(words or self.command)), folder)

    def wrong(self, folder: Path, sound: Sound) -> str:
        """The first result that is not as in an undisturbed run."""
        found = self.results(folder)
        names = [name for name in sorted({*found, *sound.results}) if found.get(name) != sound.results.get(name)]
        if not names:
            return ""
        word = "is missing" if names[0] not in found else "differs"
        return f"{names[0]} {word} ({len(names)} of {len(sound.results)} results)"


class Sound(NamedTuple):
    """An undisturbed run: how long it took, what it left, how many bytes of it are new, and of the largest file."""

    seconds: float
    results: dict[str, Any]
    bytes: int
    largest: int


def sound(job: Job, material: Material, folder: Path) -> Sound:
    """Runs a job where nothing disturbs it.

    Raises:
        RuntimeError: it fails.
    """
    folder.mkdir()
    job.lay_out(material, folder)
    before = {path for path in folder.rglob("*") if path.is_file()}
    done: Done = job.run(folder).wait()
    if done.code:
        raise RuntimeError(f"{job.name} fails undisturbed:\n{done.text[-3000:]}")
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path not in before]
    return Sound(done.seconds, job.results(folder), sum(sizes), max(sizes))


def _lay_out_training(material: Material, folder: Path) -> None:
    write_configs(folder)


def _training_again(folder: Path) -> list[Any]:
    """On from the last checkpoint; a run that saved none is deleted and started anew."""
    run = folder / "runs" / "run"
    if any((run / "checkpoints").glob("*.ckpt")):
        return _RESUME
    shutil.rmtree(run, ignore_errors=True)
    return _TRAINING


def _training_results(folder: Path) -> dict[str, Any]:
    import torch

    run = folder / "runs" / "run"
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss/total"]]
    exported = content(run / "export" / "model.safetensors")
    steps = [(row["step"], row["train/loss/total"]) for row in rows]
    weights = {key: value.numpy().tobytes() for key, value in checkpoint["state_dict"].items()}
    return {"rounds": checkpoint["ear_sat"]["rounds"], "metrics.csv": steps, "export": exported, **weights}


def _lay_out_music(material: Material, folder: Path) -> None:
    material.music(folder / "music", 12)
    shutil.copyfile(material.weights, folder / "tiny.safetensors")


def _lay_out_pairs(material: Material, folder: Path) -> None:
    for name in ("music", "estimates"):
        material.music(folder / name, 6)


def _files(pattern: str, *roots: str) -> Callable[[Path], dict[str, Any]]:
    """Contents by name, with the folder taken out of them; of latents whichever process's folder they lie in."""

    def read(folder: Path) -> dict[str, Any]:
        paths = [path for root in roots for path in (folder / root).glob(pattern) if path.is_file()]
        return {path.name: path.read_bytes().replace(str(folder).encode(), b"") for path in paths}

    return read


def _prepared(folder: Path) -> dict[str, Any]:
    """What prepare-data wrote; of shards, whose names depend on the paths of the tracks, the audio in them."""
    sums, shards = [], list((folder / "prepared" / "shards").glob("*/*.tar"))
    for path in shards:
        with tarfile.open(path) as shard:
            files = [shard.extractfile(member) for member in shard if member.name.endswith(".flac")]
            sums += [hashlib.sha256(file.read()).hexdigest() for file in files if file is not None]
    return {**_files("*.[cj]s*", "prepared")(folder), "shards": sorted(sums), "number of shards": len(shards)}


def _same(words: list[Any]) -> Callable[[Path], list[Any]]:
    return lambda _: words


_TRAINING = ["train", *new_run("run"), "--checkpoint-every", 5, "--max-steps", ROUNDS]
_PRE_ENCODE = ["pre-encode", "--weights", "tiny.safetensors", "--data", "music", "--out", "latents", "--device", "cpu"]
_PRE_ENCODE += ["--sample-size", SIZE, "--processes", 1]
_PREPARE = ["prepare-data", "music", "--out", "prepared", "--shards", "--shard-size", 1, "--shard-rate", RATE]
_PREPARE += ["--processes", 1]
_EVALUATE = ["evaluate", "--reference", "music", "--estimate", "a=estimates", "--out", "results", "--audio", 2]
_EVALUATE += ["--processes", 1]
JOBS = (
    Job("training", _lay_out_training, _TRAINING, _training_again, _training_results, processes=False),
    Job("pre-encode", _lay_out_music, _PRE_ENCODE, _same(_PRE_ENCODE), _files("*/*", "latents")),
    Job("prepare-data", _lay_out_music, _PREPARE, _same(_PREPARE), _prepared),
    Job("evaluate", _lay_out_pairs, _EVALUATE, _same(_EVALUATE), _files("results.csv", "results")),
)
