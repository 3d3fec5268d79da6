"""One training run from two JSON configs: everything ``scripts/train.py`` does."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import shutil
import signal
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from ...config import check_types
from ...data import EpochSampler, held_out_config
from ...data.loader import LoaderKeys
from ...errors import REFUSALS, UserError, in_words, sentence_of
from ...named_configs import DATASET, MODEL, load_config
from ..section import check_model_config
from .callbacks import EmptyEpochs, LeftOutFiles, Progress, RunCheckpoint
from .checkpoint_io import check_fits, check_intact, map_checkpoint, newest_readable
from .data_order import DataOrder
from .earlier_runs import as_meant
from .failures import failure
from .folder import RunFolder
from .job import Builders, Crops, Job
from .metrics_csv import MetricsCsv
from .optimizer_match import check_optimizers
from .options import DEFAULT_SEED, TrainOptions
from .stopping import StopOnSignal, after_requeue, requeue
from .summary import dataset_line
from .trainer import create_trainer, quiet

logger = logging.getLogger(__name__)

#: How child processes of a multi-process run on one machine learn the folder that the first one chose.
RUN_FOLDER_VARIABLE = "EAR_SAT_RUN_FOLDER"


def train(options: TrainOptions, builders: Builders) -> RunFolder:
    """Runs a training and returns its folder.

    Args:
        options: flags. With ``resume``, those of :data:`.options.KEPT` are not taken from the run's folder here: the
            command line does that, which knows what was given.
        builders: make the model and the loaders; the engine's own, or a host's.

    Raises:
        UserError: any input that the user can mend; nothing is written before the configs have been checked.
    """
    quiet()
    if options.resume:
        RunFolder.find(options.resume)
    options = _with_seed(_without_replaced_weights(after_requeue(options)))
    model_config, dataset_config = _configs(options)
    pl.seed_everything(DEFAULT_SEED if options.seed is None else options.seed, workers=True)
    check_model_config(model_config)
    check_types("dataset config", LoaderKeys, dataset_config)
    job = builders.job(model_config, options)
    crops = Crops.of(model_config)
    data = _load_data(builders, crops, dataset_config, options)
    for loader in (data.training, data.validation):
        if loader is not None:
            job.check_data(loader)
    demo = job.demo(data.training if data.validation is None else data.validation)
    if options.ckpt_path is not None:
        check_intact(options.ckpt_path)
        _check_fits(job, options.ckpt_path)

    run = _run_folder(options, model_config, dataset_config)
    checkpoint, resumed_at = options.ckpt_path, 0
    if options.resume:
        checkpoint, resumed_at = _resume(run, job)
    max_rounds = _max_rounds(options, job, resumed_at)
    left_out = LeftOutFiles()
    saving = RunCheckpoint(run, options.checkpoint_every, options.save_top_k, options.checkpoint_minutes)
    stop = StopOnSignal(saving)
    demo.folder = run.demos
    try:
        trainer = create_trainer(
            options,
            run,
            [
                Progress(max_rounds),
                EmptyEpochs(),
                DataOrder(data.training),
                *job.callbacks(data.held_out, demo),  # before the checkpoints: what one has, metrics.csv has as well
                saving,
                stop,
                demo,
                left_out,
                *_time_limit(options.max_minutes),
            ],
            job,
            validates=data.validation is not None,
            splits_data=isinstance(getattr(data.training, "sampler", None), EpochSampler),
        )
    except UserError:
        if not options.resume:
            _remove_new(run)
        raise
    if trainer.is_global_zero:
        if options.resume:
            run.keep_configs(resumed_at, model_config, dataset_config, _noted(options))
        job.print_summary(
            dataset_line(data.training, dataset_config, crops.sample_size, crops.sample_rate),
            f"{options.batch_size} × {options.accum_batches} × {trainer.world_size} process(es)",
            max_rounds,
            _start(options, checkpoint, job.steps_itself),
        )
    began = time.monotonic()
    _fit(trainer, run, job, data, checkpoint, stop)
    if trainer.is_global_zero and stop.received in (None, signal.SIGINT):
        known = getattr(getattr(data.training, "dataset", None), "left_out", {})
        lines = sorted({*(f"{path}: {reason}" for path, reason in known.items()), *left_out.lines})
        _finish(job, run, trainer, time.monotonic() - began, lines)
    if stop.received is not None:
        _leave(stop.received, run, trainer)
    return run


def _time_limit(minutes: float | None) -> list[pl.Callback]:
    """Lightning's own, whose clock goes on when the run does."""
    return [] if minutes is None else [Timer(timedelta(minutes=minutes), verbose=False)]


def _fit(
    trainer: pl.Trainer, run: RunFolder, job: Job, data: _Data, checkpoint: Path | None, stop: StopOnSignal
) -> None:
    try:
        trainer.fit(
            job.wrapper, data.training, data.validation, ckpt_path=None if checkpoint is None else str(checkpoint)
        )
    except (KeyboardInterrupt, SystemExit):  # the second Ctrl-C, in a form that depends on Lightning's version
        if stop.received is None:
            raise
    except REFUSALS as error:
        if sentence_of(error):
            raise
        if told := failure(error, run, several=trainer.world_size > 1):
            raise told from error
        if job.steps_itself or trainer.global_step > 0 or checkpoint is not None:
            raise
        # A host's model has not been tried before: what it cannot do with its config shows in the first step.
        _remove_new(run)
        raise UserError(f"the first step fails: {in_words(error)}; config or data do not fit this model") from error


def _finish(job: Job, run: RunFolder, trainer: pl.Trainer, seconds: float, left_out: list[str]) -> None:
    try:
        job.finish(run, trainer, seconds, left_out)
    except OSError as error:
        raise UserError(
            f"the training is finished and its checkpoints are complete, but not all results can be written: "
            f"{error.strerror or error}; free some space, then: ear-sat export {shlex.quote(str(run.root))} FILE"
        ) from error


def _leave(received: signal.Signals, run: RunFolder, trainer: pl.Trainer) -> NoReturn:
    """Ends the process with the status that shells give a stopped one."""
    if trainer.is_global_zero:
        print(f"stopped by {received.name}; go on with: ear-sat train --resume {shlex.quote(str(run.root))}")
        if received.name == "SIGUSR1":
            requeue()
    raise SystemExit(128 + received)


def _with_seed(options: TrainOptions) -> TrainOptions:
    """The options with the seed of the run that goes on, unless another is given."""
    if options.seed is None and options.resume:
        return dataclasses.replace(options, seed=RunFolder(options.resume).read_versions().get("seed"))
    if options.seed is None and options.ckpt_path is None:  # whose state brings the seed
        return dataclasses.replace(options, seed=DEFAULT_SEED)
    return options


def _noted(options: TrainOptions) -> dict[str, Any]:
    """What the run folder keeps of the options for when the run goes on."""
    return {"flags": options.kept(), **({} if options.seed is None else {"seed": options.seed})}


def _configs(options: TrainOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Model config and dataset config, given or of the run that goes on."""
    resumed = RunFolder(options.resume) if options.resume else None
    model_config = _config(options.model_config, resumed.model_config if resumed else None, MODEL)
    if resumed and options.model_config is None:
        model_config, notices = as_meant(model_config, resumed.read_versions())
        for notice in notices:
            logger.warning(notice)
    return model_config, _config(options.dataset_config, resumed.dataset_config if resumed else None, DATASET)


class _Data(NamedTuple):
    training: DataLoader[Any]
    validation: DataLoader[Any] | None
    held_out: Mapping[str, Any] | None


def _load_data(builders: Builders, crops: Crops, dataset_config: dict[str, Any], options: TrainOptions) -> _Data:
    training = builders.loader(dataset_config, crops, options.batch_size, num_workers=options.num_workers)
    given = options.val_dataset_config
    held_out = load_config(given, DATASET) if given else held_out_config(dataset_config)
    validation = None
    if held_out is not None and options.val_every > 0:
        validation = builders.loader(held_out, crops, options.batch_size, num_workers=0, shuffle=False)
    return _Data(training, validation, held_out)


def _resume(run: RunFolder, job: Job) -> tuple[Path, int]:
    """The checkpoint to go on from and its round."""
    checkpoint, notes = newest_readable(run.checkpoints)
    for note in notes:
        logger.warning(note)
    resumed_at = _check_fits(job, checkpoint)
    _trim_metrics(run, resumed_at)
    return checkpoint, resumed_at


def _max_rounds(options: TrainOptions, job: Job, resumed_at: int) -> int | None:
    """The last round, of the flags or of all phases; None where there is no end."""
    rounds = job.total_rounds if options.max_steps is None else options.max_steps
    if rounds is not None and resumed_at >= rounds:
        logger.warning("the run has all of its %d rounds; --max-steps goes on beyond them", rounds)
    return rounds


def _check_fits(job: Job, path: Path) -> int:
    """Checks that the training can go on from a checkpoint; returns its round."""
    rounds = check_fits(job.wrapper, path)
    check_optimizers(job.wrapper.configure_optimizers(), map_checkpoint(path), path)
    return rounds


def _config(given: Path | None, resumed: Path | None, kind: str) -> dict[str, Any]:
    path = given or resumed
    if path is None:
        flag = "--model-config" if kind == MODEL else "--dataset-config"
        raise UserError(f"{flag} is missing; give a JSON file or a name, or --resume with a run folder")
    return load_config(path, kind)


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


def _start(options: TrainOptions, checkpoint: Path | None, two_players: bool) -> str:
    if checkpoint is not None:
        return f"the state in {checkpoint}"
    if options.pretrained_ckpt_path is None:
        return "random weights"
    kept = "with its discriminator" if options.reuse_discriminator else "with a fresh discriminator"
    return f"the weights in {options.pretrained_ckpt_path}{f', {kept}' if two_players else ''}"


def _is_first() -> bool:
    """Whether this is the first of the run's processes."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]


def _run_folder(options: TrainOptions, model_config: dict[str, Any], dataset_config: dict[str, Any]) -> RunFolder:
    if not _is_first() and RUN_FOLDER_VARIABLE in os.environ:
        return RunFolder(Path(os.environ[RUN_FOLDER_VARIABLE]))
    if options.resume:
        run = RunFolder.resume(options.resume) if _is_first() else RunFolder(options.resume)
    else:
        stem = options.model_config.stem if options.model_config else "run"
        name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}" if options.name is None else options.name
        if _is_first():
            run = RunFolder.create(options.save_dir, name, model_config, dataset_config, _noted(options))
        else:
            run = RunFolder(Path(options.save_dir or "runs") / name)
    os.environ[RUN_FOLDER_VARIABLE] = str(run.root.resolve())
    return run


@rank_zero_only
def _remove_new(run: RunFolder) -> None:
    """Removes the folder of a run that did not begin, so that the same command works once its cause is mended."""
    shutil.rmtree(run.root, ignore_errors=True)


@rank_zero_only
def _trim_metrics(run: RunFolder, rounds: int) -> None:
    """Drops rows written after the checkpoint, so that resumed rounds do not appear twice."""
    if run.metrics_csv.exists():
        MetricsCsv(run.metrics_csv).trim_after(rounds)
