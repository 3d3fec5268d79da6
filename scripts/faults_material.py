"""What the campaign works on: a model of a few thousand parameters, a second of music in every format, a short run."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from faults_outcome import Outcome
from faults_process import Child, Work, ear_sat

T = TypeVar("T")

#: A rate that every format takes.
RATE = 48_000
#: Samples of a training crop and of a window of latents: a whole number of latent frames.
SIZE = 4_096
FRAMES = RATE
#: Name → suffix, container and encoding of libsndfile.
FORMATS = {
    "wav": (".wav", "WAV", "PCM_16"),
    "wav float": (".wav", "WAV", "FLOAT"),
    "rf64": (".wav", "RF64", "PCM_24"),
    "w64": (".w64", "W64", "PCM_16"),
    "aiff": (".aiff", "AIFF", "PCM_16"),
    "flac": (".flac", "FLAC", "PCM_16"),
    "vorbis": (".ogg", "OGG", "VORBIS"),
    "opus": (".opus", "OGG", "OPUS"),
    "mp3": (".mp3", "MP3", "MPEG_LAYER_III"),
}
#: Flags that every training of the campaign shares.
TRAIN = ["--batch-size", 2, "--num-workers", 0, "--accelerator", "cpu"]
#: Rounds of the run that checkpoints are taken from.
ROUNDS = 4


class Case(NamedTuple):
    """One fault.

    Attributes:
        row: of the table.
        name: what is done.
        run: does it in an empty folder, by the random numbers of this case, and tells what became of it.
    """

    row: str
    name: str
    run: Callable[[Path, random.Random], Outcome]


class Material(NamedTuple):
    """Where it lies, and how much of each fault is asked for."""

    folder: Path
    scale: float
    seed: int

    def count(self, whole: int) -> int:
        """``whole`` times the scale, at least one."""
        return max(1, round(whole * self.scale))

    @property
    def weights(self) -> Path:
        return self.folder / "tiny.safetensors"

    @property
    def run(self) -> Path:
        """A finished run of :data:`ROUNDS` rounds."""
        return self.folder / "runs" / "run"

    def audio(self, name: str) -> Path:
        """A file of the format ``name``."""
        return self.folder / "audio" / f"{name.replace(' ', '-')}{FORMATS[name][0]}"

    def music(self, folder: Path, count: int) -> Path:
        """A new folder of ``count`` short files in the formats of :data:`FORMATS`."""
        folder.mkdir()
        kinds = ("wav", "flac", "mp3", "vorbis")
        for number in range(count):
            source = self.audio(kinds[number % len(kinds)])
            shutil.copyfile(source, folder / f"{number:02d}{source.suffix}")
        return folder


def deal(every: Sequence[T], count: int, seed: int) -> list[T]:
    """``count`` of ``every``, shuffled, none twice before all have come once."""
    shuffled = random.Random(seed).sample(every, len(every))
    return list(islice(cycle(shuffled), count))


def write_material(folder: Path, scale: float, seed: int) -> Material:
    """Makes it, in children; ``folder`` must exist."""
    material = Material(folder, scale, seed)
    (folder / "audio").mkdir()
    write_configs(folder)
    must(_write_audio(material), folder)
    must(_write_weights(material.weights), folder)
    must(ear_sat("train", *new_run("run"), "--max-steps", ROUNDS, "--checkpoint-every", 2), folder)
    return material


def must(work: Work, folder: Path) -> str:
    """Does what cannot fail, for nothing is wrong yet; returns what it printed.

    Raises:
        RuntimeError: it fails nevertheless.
    """
    done = Child(work, folder).wait()
    if done.code != 0:
        raise RuntimeError(f"a sound command ended with {done.code}:\n{done.text[-3000:]}")
    return done.out


def new_run(name: str) -> list[object]:
    """Flags of a new run of the configs that :func:`write_configs` writes."""
    configs = ["--model-config", "model.json", "--dataset-config", "data.json"]
    return [*configs, *TRAIN, "--name", name, "--save-dir", "runs", "--seed", 3]


def write_configs(folder: Path, data: dict[str, Any] | None = None, size: int = SIZE, **training: Any) -> None:
    """``model.json`` with other crops and keys of training, and ``data.json``, by default of synthetic music."""
    config = {**training_config(), "sample_size": size}
    config["training"].update(training)
    # Of the other split nothing is set aside, which would be measured, in seconds.
    data = data or {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4, "split": "held_out"}
    (folder / "model.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")


def model_config() -> dict[str, Any]:
    """A stereo autoencoder of 32 samples per latent frame."""
    width = {"channels": 2, "c_mults": [1, 2], "strides": [4, 8]}
    decoder = {"out_channels": 2, "latent_dim": 32, "transformer": {"depth": 1, "dim_heads": 32}, **width}
    return {
        "model_type": "autoencoder",
        "sample_size": SIZE,
        "sample_rate": RATE,
        "audio_channels": 2,
        "model": {
            "encoder": {"type": "ear_encoder", "config": {"in_channels": 2, "latent_dim": 64, **width}},
            "decoder": {"type": "ear_decoder", "config": {**decoder, "final_tanh": False}},
            "bottleneck": {"type": "ear_vae", "config": {"sample": "training"}},
            "latent_dim": 32,
            "downsampling_ratio": 32,
            "io_channels": 2,
        },
    }


def training_config() -> dict[str, Any]:
    """:func:`model_config` with losses of every kind and a discriminator."""
    adamw = {"optimizer": {"type": "AdamW", "config": {"lr": 1e-3, "betas": [0.5, 0.9]}}}
    windows = [256, 128]
    losses = {
        "magnitude": {"type": "ear_magnitude", "config": {"windows": windows}, "weights": {"log": 1.0}},
        "correlation": {"type": "ear_correlation", "config": {"windows": windows}, "weights": {"correlation": 1.0}},
        "time": {"type": "l1", "weights": {"l1": 0.5}},
        "discriminator": {
            "type": "ear_mrstft",
            "config": {"filters": 2, "windows": windows, "dilations": [1], "kernel_size": [3, 3]},
            "weights": {"adversarial": 0.1, "feature_matching": 5.0},
        },
        "bottleneck": {"type": "kl", "weights": {"kl": 1e-3}},
    }
    training = {
        "type": "ear",
        "optimizer_configs": {"autoencoder": adamw, "discriminator": copy.deepcopy(adamw)},
        "loss_configs": losses,
        "log_every": 1,
        "gradient_log_every": 0,
        "demo": {"demo_every": 100_000, "max_demos": 1},
    }
    return {**model_config(), "training": training}


def _write_audio(material: Material) -> Work:
    def work() -> int:
        import numpy as np
        import soundfile

        noise = np.random.default_rng(material.seed).standard_normal((FRAMES + 8, 2))
        smooth = np.stack([np.convolve(channel, np.hanning(9), "valid") for channel in noise.T], axis=1)
        time = np.arange(FRAMES)[:, None] / RATE
        tones = np.sin(2 * np.pi * np.array([440.0, 660.0]) * time)
        audio = 0.2 * tones + 0.1 * smooth / np.abs(smooth).max()
        for name, (_, container, encoding) in FORMATS.items():
            soundfile.write(material.audio(name), audio, RATE, format=container, subtype=encoding)
        return 0

    return work


def _write_weights(path: Path) -> Work:
    def work() -> int:
        import torch

        from ear_sat.models import Autoencoder
        from ear_sat.weights import config_metadata, write_weights

        torch.manual_seed(0)
        config = model_config()
        write_weights(Autoencoder.from_config(config).state_dict(), path, metadata=config_metadata(config))
        return 0

    return work


def content(path: Path) -> Any:
    """What must be equal for two files to be the same; safetensors orders its metadata at random."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]
