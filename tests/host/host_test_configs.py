"""A tiny model with every loss, and the ways to build and train it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger

RATE, SIZE = 8000, 4096
WINDOWS = [256, 128]
DISCRIMINATOR = {"filters": 4, "windows": WINDOWS, "dilations": [1], "kernel_size": [3, 3]}


def sgd(rate: float = 1.0) -> dict[str, Any]:
    """A step of SGD at rate 1 is the gradient."""
    return {"optimizer": {"type": "SGD", "config": {"lr": rate}}}


def adamw(rate: float = 1e-3) -> dict[str, Any]:
    return {"optimizer": {"type": "AdamW", "config": {"lr": rate, "betas": [0.5, 0.9]}}}


def model_config(*, sample: str = "training", channels: int = 2, encoder_channels: int | None = None) -> dict[str, Any]:
    """Model and training of a few thousand parameters; stereo at 8 kHz."""
    width = {"channels": 4, "c_mults": [1, 2], "strides": [4, 8]}
    return {
        "model_type": "autoencoder",
        "sample_size": SIZE,
        "sample_rate": RATE,
        "audio_channels": channels,
        "model": {
            "encoder": {
                "type": "ear_encoder",
                "config": {"in_channels": encoder_channels or channels, **width, "latent_dim": 64},
            },
            "decoder": {
                "type": "ear_decoder",
                "config": {
                    "out_channels": channels,
                    **width,
                    "latent_dim": 32,
                    "final_tanh": False,
                    "transformer": {"depth": 1, "dim_heads": 32},
                },
            },
            "bottleneck": {"type": "ear_vae", "config": {"sample": sample}},
            "latent_dim": 32,
            "downsampling_ratio": 32,
            "io_channels": channels,
        },
        "training": {
            "type": "ear",
            "optimizer_configs": {"autoencoder": adamw(), "discriminator": adamw()},
            "loss_configs": {
                "magnitude": {
                    "type": "ear_magnitude",
                    "config": {"windows": WINDOWS, "channels": "mslr" if channels == 2 else "lr"},
                    "weights": {"log": 1.0, "convergence": 1.0},
                },
                "correlation": {
                    "type": "ear_correlation",
                    "config": {"windows": WINDOWS, "bin_weighting": "magnitude"},
                    "weights": {"correlation": 1.0},
                },
                "phase_derivative": {
                    "type": "ear_phase_derivative",
                    "config": {"windows": WINDOWS, "bin_weighting": "magnitude"},
                    "weights": {"if": 0.1, "gd": 0.1},
                },
                "time": {"type": "l1", "weights": {"l1": 0.5}},
                "discriminator": {
                    "type": "ear_mrstft",
                    "config": copy.deepcopy(DISCRIMINATOR),
                    "weights": {"adversarial": 0.1, "feature_matching": 5.0},
                },
                "bottleneck": {"type": "kl", "weights": {"kl": 1e-3}},
            },
            "log_every": 1,
            "gradient_log_every": 0,
            "demo": {"demo_every": 1000, "max_demos": 1},
        },
    }


ABSENT = object()


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``config`` with the value at the dotted path set, or removed if it is ABSENT."""
    config = copy.deepcopy(config)
    *parents, last = path.split(".")
    place: Any = config
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return config


def make_wrapper(config: dict[str, Any], seed: int = 0) -> Any:
    """Model and wrapper through the host's factories; weights follow from the seed."""
    from stable_audio_tools.models import create_model_from_config
    from stable_audio_tools.training import create_training_wrapper_from_config

    torch.manual_seed(seed)
    model = create_model_from_config(config)
    return create_training_wrapper_from_config(config, model)


def audio(batch: int = 2, channels: int = 2, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Decaying tones over faint noise, different in both channels."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(size) / RATE
    pitch = 100 + 900 * torch.rand(batch, channels, 4, 1, generator=generator)
    level = 0.2 * torch.rand(batch, channels, 4, 1, generator=generator)
    tones = (level * torch.sin(2 * torch.pi * pitch * time) * torch.exp(-3 * time)).sum(2)
    return tones + 0.003 * torch.randn(batch, channels, size, generator=generator)


def batches(count: int, batch: int = 2, channels: int = 2, seed: int = 0) -> list[Any]:
    """What a data loader gives."""
    return [(audio(batch, channels, seed=seed + 1000 * i), ({},) * batch) for i in range(count)]


class Recorder(Logger):
    """Keeps the logged rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "recorder"

    @property
    def version(self) -> str:
        return ""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((int(step or 0), dict(metrics)))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def series(self, key: str) -> list[float]:
        """Values of one key in order."""
        return [row[key] for _, row in self.rows if key in row]


class Gradients(pl.Callback):
    """The gradients each player was stepped with, ``[{name: gradient}]`` by player."""

    def __init__(self) -> None:
        self.generator: list[dict[str, torch.Tensor]] = []
        self.discriminator: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for player, module in (("generator", pl_module.autoencoder), ("discriminator", pl_module.discriminator)):
            if module is not None and any(id(p) in stepped for p in module.parameters()):
                taken = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
                getattr(self, player).append(taken)


class Snapshots(pl.Callback):
    """Copies of all tensors and of both optimizers' states after each batch (index 0: before the first)."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.optimizers: list[Any] = []
        self.rounds: list[int] = []
        self.rates: list[list[float]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._take(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._take(trainer, pl_module)

    def _take(self, trainer: Any, pl_module: Any) -> None:
        self.states.append({key: value.clone() for key, value in pl_module.state_dict().items()})
        self.optimizers.append(copy.deepcopy([optimizer.state_dict() for optimizer in trainer.optimizers]))
        self.rounds.append(getattr(pl_module, "rounds", -1))
        self.rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])

    def differs(self, one: int, other: int, prefix: str) -> bool:
        """Whether any tensor below ``prefix`` is another after batch ``other`` than after batch ``one``."""
        keys = [key for key in self.states[one] if key.startswith(prefix)]
        assert keys, f"no tensor below {prefix}"
        return any(not torch.equal(self.states[one][key], self.states[other][key]) for key in keys)


def fit(wrapper: Any, data: Any, *callbacks: Any, val: Any = None, logger: Any = False, **options: Any) -> Any:
    """Trains one pass over ``data`` on the CPU and returns the trainer."""
    trainer = pl.Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": logger,
            "callbacks": list(callbacks),
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **options,
        }
    )
    trainer.fit(wrapper, _loader(data), None if val is None else _loader(val))
    return trainer


def _loader(data: Any) -> Any:
    return torch.utils.data.DataLoader(data, batch_size=None) if isinstance(data, list) else data


def train_watched(callback: pl.Callback, **options: Any) -> None:
    """Runs a training on the CPU with a callback more."""
    from ear_sat.host.jobs import HostBuilders
    from ear_sat.training.run.options import TrainOptions
    from ear_sat.training.run.train import train

    class Builders(HostBuilders):
        def job(self, model_config: Any, options: Any) -> Any:
            job: Any = super().job(model_config, options)
            callbacks = job.callbacks
            job.callbacks = lambda *arguments: [*callbacks(*arguments), callback]
            return job

    fixed = {"batch_size": 2, "num_workers": 0, "accelerator": "cpu"}
    train(TrainOptions(**{**fixed, **options}), Builders())


class AtStart(pl.Callback):
    """What a run begins with: copies of its tensors and of its optimizers' states, and the trainer."""

    state: dict[str, torch.Tensor]
    optimizers: list[Any]
    trainer: pl.Trainer

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.state = {key: value.clone() for key, value in pl_module.state_dict().items()}
        self.optimizers = copy.deepcopy([optimizer.state_dict() for optimizer in trainer.optimizers])
        self.trainer, self.rounds = trainer, getattr(pl_module, "rounds", trainer.global_step)


def same(one: Any, other: Any) -> bool:
    """Whether two nests of tensors and plain values are equal bit for bit; tuples equal lists."""
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def run_script(script: Path, *arguments: object, cwd: Path | None = None) -> None:
    """Runs a script of these tests by itself: one thread per process, nothing of pytest's in its environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, str(script), *map(str, arguments)]
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 500, "check": False}
    done = subprocess.run(command, cwd=cwd, env={**environment, "OMP_NUM_THREADS": "1"}, **options)
    assert done.returncode == 0, done.stderr
