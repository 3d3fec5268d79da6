"""The Lightning trainer of a run."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytorch_lightning as pl
import torch

from ...compute import warn_of_slow_bf16
from ...errors import UserError
from .checkpoint_io import AtomicCheckpointIO
from .folder import RunFolder
from .job import Job
from .loggers import create_loggers
from .options import TrainOptions


def quiet() -> None:
    """Silences advice that does not apply: we split data among ranks, count rounds and save by ourselves."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*you have no `val_dataloader`.*|.*but have no `val_dataloader`.*")
    # DataOrder goes on where the data were.
    warnings.filterwarnings("ignore", message=".*resuming from a checkpoint that ended before the epoch ended.*")
    warnings.filterwarnings("ignore", message=".*`torch.nn.utils.weight_norm` is deprecated.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module=".*stable_audio_tools.*")
    # The host's diffusion wrappers ask for CUDA autocast everywhere, and its demos call torchaudio's older interface.
    warnings.filterwarnings("ignore", message="User provided device_type of 'cuda'.*")
    warnings.filterwarnings("ignore", category=UserWarning, module="torchaudio.*")
    # The last one speaks of how checkpoints are read, which our plug-in decides.
    for name in ("utilities.rank_zero", "accelerators.cuda", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.WARNING)


def check_strategy(name: str, several: bool, by_parts: bool) -> str:
    """The Lightning strategy to train with, for the one that was asked for.

    Args:
        name: "ddp", "auto", …; empty for "auto".
        several: the run has more than one device.
        by_parts: the networks are called one by one, and a backward pass reaches one of two players.

    Raises:
        UserError: a strategy under which no run can be finished.

    >>> check_strategy("ddp", several=True, by_parts=True), check_strategy("", several=True, by_parts=False)
    ('ddp_find_unused_parameters_true', 'ddp')
    """
    if name.startswith(("ddp_spawn", "ddp_fork", "ddp_notebook")):
        raise UserError(f"--strategy {name} ends its processes before the run can be exported; use --strategy ddp")
    if by_parts and name.startswith(("deepspeed", "fsdp")):
        raise UserError(
            f"--strategy {name} shards one network with one optimizer, and here several are called one by one; "
            "use --strategy ddp"
        )
    if name in ("", "auto"):
        name = "ddp" if several else "auto"
    if by_parts and name in ("ddp", "ddp_find_unused_parameters_false"):
        return "ddp_find_unused_parameters_true"
    return name


def default_precision(on_gpu: bool) -> str:
    """float32 on the CPU, on a GPU the half type that it computes in hardware; see docs/explanation/precision.md."""
    if not on_gpu:
        return "32"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def create_trainer(
    options: TrainOptions,
    run: RunFolder,
    callbacks: list[Any],
    job: Job,
    validates: bool,
    splits_data: bool = True,
) -> pl.Trainer:
    """The trainer.

    Args:
        options: flags.
        run: the run folder.
        callbacks: callbacks.
        job: what is trained.
        validates: there is a validation set.
        splits_data: the training set's sampler splits it among ranks; else Lightning's does.

    Raises:
        UserError: flags that cannot work.
    """
    on_gpu = options.on_gpu
    precision: Any = options.precision or default_precision(on_gpu)
    if job.by_parts and precision in ("bf16-true", "16-true"):
        raise UserError(
            f"--precision {precision} would round weights and losses; use {precision.replace('true', 'mixed')}"
        )
    devices: Any = int(options.devices) if options.devices.lstrip("-").isdigit() else options.devices
    if devices == "auto" and not on_gpu:
        devices = 1
    several = options.num_nodes > 1 or devices not in (1, "1", "auto")
    several = several or (devices == "auto" and on_gpu and torch.cuda.device_count() > 1)
    strategy = check_strategy(options.strategy, several, job.by_parts)
    extra: dict[str, Any] = {}
    if validates:
        extra = {"check_val_every_n_epoch": None, "val_check_interval": options.val_every * options.accum_batches}
    if not job.steps_itself:
        extra |= {
            "gradient_clip_val": options.gradient_clip_val or None,
            "accumulate_grad_batches": options.accum_batches,
        }
    loggers = create_loggers(options.logger, run, options.name or "ear_sat")
    try:
        trainer = pl.Trainer(
            accelerator=options.accelerator,
            devices=devices,
            num_nodes=options.num_nodes,
            strategy=strategy,
            precision=precision,
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
            max_epochs=-1,
            default_root_dir=str(run.root),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=not splits_data,
            log_every_n_steps=1,
            **extra,
        )
    except (
        ImportError,
        TypeError,
        ValueError,
        RuntimeError,
        pl.utilities.exceptions.MisconfigurationException,
    ) as error:
        raise UserError(f"Lightning refuses these flags: {error}") from error
    if str(precision).startswith("bf16") and trainer.strategy.root_device.type == "cpu":
        warn_of_slow_bf16()
    if not job.steps_itself:  # Lightning logs its metrics
        loggers[-1].rounds = lambda: trainer.global_step
    return trainer
