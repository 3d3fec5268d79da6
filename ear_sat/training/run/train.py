"""One training run from two JSON configs: everything ``scripts/train.py`` does."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ...config import load_json
from ...data import EpochSampler, held_out_config
from ...errors import UserError
from ...host.building import create_loader, create_training_wrapper, required
from ...host.diffusion.data import check_loader
from ...host.diffusion.demo import create_demo
from ...host.diffusion.export import trained_model
from ...host.diffusion.noise import DiffusionNoise
from ...host.diffusion.summary import print_host_summary
from ..wrapper import EarTrainingWrapper
from .callbacks import LeftOutFiles, Progress, RunCheckpoint
from .checkpoint_io import check_fits, newest_readable
from .data_order import DataOrder
from .demo import EarDemoCallback
from .earlier_runs import as_meant
from .finish import finish, finish_host
from .folder import RunFolder
from .held_out import HeldOutTable, held_out_clip
from .metrics_csv import MetricsCsv
from .options import DEFAULT_SEED, TrainOptions
from .summary import dataset_line, print_summary
from .trainer import create_trainer, quiet

logger = logging.getLogger(__name__)

#: How child processes of a multi-process run on one machine learn the folder that the first one chose.
RUN_FOLDER_VARIABLE = "EAR_SAT_RUN_FOLDER"


def train(options: TrainOptions) -> RunFolder:
    """Runs a training and returns its folder.

    Raises:
        UserError: any input that the user can mend; nothing is written before the configs have been checked.
    """
    from ...host.register import register

    register()
    quiet()
    options = _without_replaced_weights(options)
    resumed = RunFolder(options.resume) if options.resume else None
    model_config = _config(options.model_config, resumed.model_config if resumed else None, "--model-config")
    if resumed and options.model_config is None:
        model_config, notices = as_meant(model_config, resumed.read_versions())
        for notice in notices:
            logger.warning(notice)
    dataset_config = _config(options.dataset_config, resumed.dataset_config if resumed else None, "--dataset-config")
    pl.seed_everything(DEFAULT_SEED if options.seed is None else options.seed, workers=True)

    wrapper = create_training_wrapper(model_config, options)
    loader = create_loader(dataset_config, model_config, options.batch_size, num_workers=options.num_workers)
    held_out = load_json(options.val_dataset_config) if options.val_dataset_config else held_out_config(dataset_config)
    val_loader = None
    if held_out is not None and options.val_every > 0:
        val_loader = create_loader(held_out, model_config, options.batch_size, num_workers=0, shuffle=False)
    ours = isinstance(wrapper, EarTrainingWrapper)
    if not ours:
        for one in (loader, val_loader):
            if one is not None:
                check_loader(wrapper, trained_model(wrapper), one)
    demo = create_demo(model_config, loader if val_loader is None else val_loader)
    checkpoint = options.ckpt_path
    if checkpoint is not None:
        check_fits(wrapper, checkpoint)

    run = _run_folder(options, model_config, dataset_config)
    if options.resume:
        checkpoint, notes = newest_readable(run.checkpoints)
        for note in notes:
            logger.warning(note)
        resumed_at = check_fits(wrapper, checkpoint)
        _trim_metrics(run, resumed_at)
    demo.folder = run.demos
    max_rounds = options.max_steps
    if max_rounds is None and ours:
        max_rounds = wrapper.schedule.total_steps
    left_out = LeftOutFiles()
    saving = RunCheckpoint(run, options.checkpoint_every, options.save_top_k)
    callbacks = [Progress(max_rounds), DataOrder(loader), saving, demo, left_out]
    table = None
    try:
        if ours:
            hop, rate = wrapper.autoencoder.downsampling_ratio, required(model_config, "sample_rate")
            clip = held_out_clip(held_out, hop, rate, model_config.get("audio_channels", 2), wrapper.bundle)
            table = None if clip is None else HeldOutTable(clip)
            if clip is not None and isinstance(demo, EarDemoCallback):
                demo.clips = clip.clip.unsqueeze(0)  # what the table measures is what one hears
        callbacks += [table] if table else []
        callbacks += [] if ours else [DiffusionNoise(options.seed)]
        splits = isinstance(getattr(loader, "sampler", None), EpochSampler)
        trainer = create_trainer(options, run, callbacks, ours, val_loader is not None, splits)
    except UserError:
        if not options.resume and _is_first():
            shutil.rmtree(run.root, ignore_errors=True)  # so that the same command works once its cause is mended
        raise
    if trainer.is_global_zero:
        if options.resume:
            run.keep_configs(resumed_at, model_config, dataset_config)
        batch = f"{options.batch_size} × {options.accum_batches} × {trainer.world_size} process(es)"
        sizes = (required(model_config, "sample_size"), required(model_config, "sample_rate"))
        data, start = dataset_line(loader, dataset_config, *sizes), _start(options, checkpoint, ours)
        (print_summary if ours else print_host_summary)(wrapper, model_config, data, batch, max_rounds, start)

    began = time.monotonic()
    trainer.fit(wrapper, loader, val_loader, ckpt_path=None if checkpoint is None else str(checkpoint))
    if trainer.is_global_zero:
        known = getattr(getattr(loader, "dataset", None), "left_out", {})
        lines = sorted({*(f"{path}: {reason}" for path, reason in known.items()), *left_out.lines})
        seconds = time.monotonic() - began
        if ours:
            finish(run, wrapper, seconds, table, lines)
        else:
            finish_host(run, wrapper, trainer.global_step, seconds, lines)
    return run


def _config(given: Path | None, resumed: Path | None, flag: str) -> dict[str, Any]:
    path = given or resumed
    if path is None:
        raise UserError(f"{flag} is missing; give a JSON file, or --resume with a run folder")
    return load_json(path)


def _without_replaced_weights(options: TrainOptions) -> TrainOptions:
    """The options without weights that the state to continue from would replace at once."""
    if options.resume and options.ckpt_path:
        raise UserError(
            "--resume goes on from the run's newest checkpoint and --ckpt-path from another; give one of the two"
        )
    if options.pretrained_ckpt_path is None or not (options.resume or options.ckpt_path):
        return options
    flag = "--resume" if options.resume else "--ckpt-path"
    logger.warning("%s is not read: all weights come from %s", options.pretrained_ckpt_path, flag)
    return dataclasses.replace(options, pretrained_ckpt_path=None, allow_partial=False, reuse_discriminator=False)


def _start(options: TrainOptions, checkpoint: Path | None, ours: bool) -> str:
    if checkpoint is not None:
        return f"the state in {checkpoint}"
    if options.pretrained_ckpt_path is None:
        return "random weights"
    kept = "with its discriminator" if options.reuse_discriminator else "with a fresh discriminator"
    return f"the weights in {options.pretrained_ckpt_path}{f', {kept}' if ours else ''}"


def _is_first() -> bool:
    """Whether this is the first of the run's processes."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]


def _run_folder(options: TrainOptions, model_config: dict[str, Any], dataset_config: dict[str, Any]) -> RunFolder:
    if not _is_first() and RUN_FOLDER_VARIABLE in os.environ:
        return RunFolder(Path(os.environ[RUN_FOLDER_VARIABLE]))
    if options.resume:
        run = RunFolder.resume(options.resume) if _is_first() else RunFolder(options.resume)
    else:
        stem = options.model_config.stem if options.model_config else "run"
        name = options.name or f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        if _is_first():
            run = RunFolder.create(options.save_dir, name, model_config, dataset_config)
        else:
            run = RunFolder(Path(options.save_dir or "runs") / name)
    os.environ[RUN_FOLDER_VARIABLE] = str(run.root.resolve())
    return run


@rank_zero_only
def _trim_metrics(run: RunFolder, rounds: int) -> None:
    """Drops rows written after the checkpoint, so that resumed rounds do not appear twice."""
    if run.metrics_csv.exists():
        MetricsCsv(run.metrics_csv).trim_after(rounds)
