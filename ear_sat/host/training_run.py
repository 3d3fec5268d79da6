"""One training run from two JSON configs: everything ``scripts/train.py`` does."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ..config import choice_error, load_json
from ..data import DATASET_TYPES, create_dataset, held_out_config
from ..errors import UserError
from ..report.plots import save_curves
from ..report.tables import print_table
from .callbacks import LeftOutFiles, Progress, RunCheckpoint
from .checkpoint_io import AtomicCheckpointIO, check_readable, newest_readable
from .demo_callback import EarDemoCallback
from .export import save_autoencoder
from .held_out import SECONDS, HeldOutClip, table_rows
from .loggers import create_loggers
from .metrics_csv import MetricsCsv
from .pretrained import load_strictly
from .run_folder import RunFolder, write_text_atomic
from .summary import dataset_line, print_summary
from .wrapper import EarTrainingWrapper

logger = logging.getLogger(__name__)

#: How child processes of a multi-process run on one machine learn the folder that the first one chose.
RUN_FOLDER_VARIABLE = "EAR_SAT_RUN_FOLDER"
#: Types that the host's own ``create_dataloader_from_config`` knows; for any other it returns None.
HOST_DATASET_TYPES = ("audio_dir", "pre_encoded", "s3", "wds")


@dataclass
class TrainOptions:
    """Flags of ``scripts/train.py``; see its ``--help``."""

    model_config: Path | None = None
    dataset_config: Path | None = None
    val_dataset_config: Path | None = None
    name: str | None = None
    save_dir: Path | None = None
    resume: Path | None = None
    ckpt_path: Path | None = None
    pretrained_ckpt_path: Path | None = None
    pretransform_ckpt_path: Path | None = None
    remove_pretransform_weight_norm: str = ""
    batch_size: int = 8
    num_workers: int = 8
    seed: int = 42
    max_steps: int | None = None
    accum_batches: int = 1
    gradient_clip_val: float = 0.0
    checkpoint_every: int = 10000
    save_top_k: int = -1
    val_every: int = -1
    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = ""
    precision: str | None = None
    logger: str = "csv"
    compile: bool = False


def train(options: TrainOptions) -> RunFolder:
    """Runs a training and returns its folder.

    Raises:
        UserError: any input that the user can mend; nothing is written before the configs have been checked.
    """
    from .register import register

    register()
    from stable_audio_tools.data.dataset import create_dataloader_from_config
    from stable_audio_tools.training import create_demo_callback_from_config

    _quiet()
    resumed = RunFolder(options.resume) if options.resume else None
    model_config = _config(options.model_config, resumed.model_config if resumed else None, "--model-config")
    dataset_config = _config(options.dataset_config, resumed.dataset_config if resumed else None, "--dataset-config")
    pl.seed_everything(options.seed + int(os.environ.get("SLURM_PROCID", 0)), workers=True)

    wrapper = _create_wrapper(model_config, options)
    sizes = {key: _required(model_config, key) for key in ("sample_size", "sample_rate")}
    channels = model_config.get("audio_channels", 2)
    try:
        loader = create_dataloader_from_config(
            dataset_config, options.batch_size, **sizes, audio_channels=channels, num_workers=options.num_workers
        )
    except (AssertionError, KeyError) as error:
        raise UserError(f"the dataset config does not fit the host: {_words(error)}") from error
    if loader is None:  # the host's answer to a type it does not know
        raise choice_error("dataset_type", dataset_config["dataset_type"], [*DATASET_TYPES, *HOST_DATASET_TYPES])
    held_out = load_json(options.val_dataset_config) if options.val_dataset_config else held_out_config(dataset_config)
    val_loader = None
    if held_out is not None and options.val_every > 0:
        val_loader = create_dataloader_from_config(
            held_out, options.batch_size, **sizes, audio_channels=channels, num_workers=0, shuffle=False
        )

    ours = isinstance(wrapper, EarTrainingWrapper)
    max_rounds = options.max_steps
    if max_rounds is None and ours:
        max_rounds = wrapper.schedule.total_steps
    demo = create_demo_callback_from_config(model_config, demo_dl=val_loader or loader)
    checkpoint = options.ckpt_path
    if checkpoint is not None:
        check_readable(checkpoint)
    run = _run_folder(options, model_config, dataset_config)
    if options.resume:
        checkpoint, notes = newest_readable(run.checkpoints)
        for note in notes:
            logger.warning(note)
        _trim_metrics(run, checkpoint)

    if isinstance(demo, EarDemoCallback):
        demo.folder = run.demos
    progress, checkpoints, left_out = (
        Progress(max_rounds),
        RunCheckpoint(run, options.checkpoint_every, options.save_top_k),
        LeftOutFiles(),
    )
    clip = None
    try:
        trainer = _trainer(options, run, [progress, checkpoints, demo, left_out], ours, val_loader is not None)
        if ours and trainer.is_global_zero:
            batch = f"{options.batch_size} × {options.accum_batches} × {trainer.world_size} process(es)"
            print_summary(wrapper, model_config, dataset_line(loader, dataset_config, **sizes), batch, max_rounds)
            clip = _held_out_clip(held_out, wrapper, sizes["sample_rate"], channels)
    except UserError:
        if not options.resume and rank_zero_only.rank == 0:
            shutil.rmtree(run.root, ignore_errors=True)  # so that the same command works once its cause is mended
        raise
    table = [("before", clip.measure(clip.reconstruct(wrapper)))] if clip else []

    began = time.monotonic()
    trainer.fit(wrapper, loader, val_loader, ckpt_path=None if checkpoint is None else str(checkpoint))
    seconds = time.monotonic() - began
    if trainer.is_global_zero:
        _finish(
            run, wrapper, model_config, seconds, clip, table, sorted({*_left_out_at_start(loader), *left_out.lines})
        )
    return run


def _quiet() -> None:
    """Silences advice that does not apply: we split data among ranks, count rounds and save by ourselves."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*you have no `val_dataloader`.*|.*but have no `val_dataloader`.*")
    warnings.filterwarnings("ignore", message=".*`torch.nn.utils.weight_norm` is deprecated.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module=".*stable_audio_tools.*")
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _config(given: Path | None, resumed: Path | None, flag: str) -> dict[str, Any]:
    path = given or resumed
    if path is None:
        raise UserError(f"{flag} is missing; give a JSON file, or --resume with a run folder")
    return load_json(path)


def _required(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f'the model config needs "{key}", a whole number of at least 1; got {value!r}')
    return value


def _create_wrapper(model_config: dict[str, Any], options: TrainOptions) -> Any:
    from stable_audio_tools.models.factory import create_model_from_config
    from stable_audio_tools.training import create_training_wrapper_from_config

    _required(model_config, "sample_rate")
    if "training" not in model_config:
        raise UserError('the model config needs a "training" section')
    try:
        model = create_model_from_config(model_config)
    except (AssertionError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the host cannot build this model config: {_words(error)}") from error
    if options.pretrained_ckpt_path:
        load_strictly(model, options.pretrained_ckpt_path)
    if options.remove_pretransform_weight_norm or options.pretransform_ckpt_path:
        _prepare_pretransform(model, options)
    wrapper = create_training_wrapper_from_config(model_config, model)
    if isinstance(wrapper, EarTrainingWrapper):
        wrapper.accumulate = options.accum_batches
        if options.gradient_clip_val:
            wrapper.optimizer_configs.clip_norms = dict.fromkeys(
                wrapper.optimizer_configs.clip_norms, options.gradient_clip_val
            )
        if options.compile:
            for module in (wrapper.autoencoder.encoder, wrapper.autoencoder.decoder, wrapper.discriminator):
                if module is not None:
                    module.compile()
    elif options.compile:
        wrapper.compile()
    return wrapper


def _words(error: Exception) -> str:
    """The error in words: a KeyError's own text is the bare key."""
    if isinstance(error, KeyError):
        return f'it lacks the key "{error.args[0]}"'
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _prepare_pretransform(model: Any, options: TrainOptions) -> None:
    from stable_audio_tools.models.utils import remove_weight_norm_from_model

    from ..models import fold_weight_norm

    pretransform = getattr(model, "pretransform", None)
    if pretransform is None:
        raise UserError("this model has no pretransform; drop the --…pretransform… flags")

    def fold() -> None:
        fold_weight_norm(pretransform)
        # torch's own form, which is what the host's function removes; it raises on modules that have none.
        for module in pretransform.modules():
            if hasattr(module, "weight_g"):
                remove_weight_norm_from_model(torch.nn.ModuleList([module]))

    if options.remove_pretransform_weight_norm == "pre_load":
        fold()
    if options.pretransform_ckpt_path:
        load_strictly(pretransform.model, options.pretransform_ckpt_path, "the pretransform")
    if options.remove_pretransform_weight_norm == "post_load":
        fold()


def _run_folder(options: TrainOptions, model_config: dict[str, Any], dataset_config: dict[str, Any]) -> RunFolder:
    if rank_zero_only.rank != 0 and RUN_FOLDER_VARIABLE in os.environ:
        return RunFolder(Path(os.environ[RUN_FOLDER_VARIABLE]))
    if options.resume:
        run = RunFolder.resume(options.resume) if rank_zero_only.rank == 0 else RunFolder(options.resume)
    else:
        stem = options.model_config.stem if options.model_config else "run"
        name = options.name or f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        if rank_zero_only.rank == 0:
            run = RunFolder.create(options.save_dir, name, model_config, dataset_config)
        else:
            run = RunFolder(Path(options.save_dir or "runs") / name)
    os.environ[RUN_FOLDER_VARIABLE] = str(run.root.resolve())
    return run


@rank_zero_only
def _trim_metrics(run: RunFolder, checkpoint: Path) -> None:
    """Drops rows written after the checkpoint, so that resumed rounds do not appear twice."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    rounds = state.get("ear_sat", {}).get("rounds", state.get("global_step", 0))
    if run.metrics_csv.exists():
        MetricsCsv(run.metrics_csv).trim_after(int(rounds))


def _trainer(options: TrainOptions, run: RunFolder, callbacks: list[Any], ours: bool, validates: bool) -> Any:
    if options.strategy == "deepspeed":
        raise UserError(
            "deepspeed trains one optimizer only; use --strategy ddp or fsdp for a generator and a discriminator"
        )
    on_gpu = options.accelerator in ("gpu", "cuda") or (options.accelerator == "auto" and torch.cuda.is_available())
    precision = options.precision or (
        ("bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed") if on_gpu else "32"
    )
    devices: Any = int(options.devices) if options.devices.lstrip("-").isdigit() else options.devices
    if devices == "auto" and not on_gpu:
        devices = 1
    several = options.num_nodes > 1 or devices not in (1, "1", "auto")
    several = several or (devices == "auto" and on_gpu and torch.cuda.device_count() > 1)
    strategy = options.strategy or ("ddp" if several else "auto")
    if strategy == "ddp" and ours:
        # Every backward of a round reaches one player only.
        strategy = "ddp_find_unused_parameters_true"
    extra: dict[str, Any] = {}
    if validates:
        extra = {"check_val_every_n_epoch": None, "val_check_interval": options.val_every * options.accum_batches}
    if not ours:  # The host's diffusion wrappers leave these two to Lightning.
        extra |= {
            "gradient_clip_val": options.gradient_clip_val or None,
            "accumulate_grad_batches": options.accum_batches,
        }
    try:
        return pl.Trainer(
            accelerator=options.accelerator,
            devices=devices,
            num_nodes=options.num_nodes,
            strategy=strategy,
            precision=precision,
            callbacks=callbacks,
            logger=create_loggers(options.logger, run, options.name or "ear_sat"),
            plugins=[AtomicCheckpointIO()],
            max_epochs=-1,
            default_root_dir=str(run.root),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=1,
            **extra,
        )
    except (TypeError, ValueError, RuntimeError, pl.utilities.exceptions.MisconfigurationException) as error:
        raise UserError(f"Lightning refuses these flags: {error}") from error


def _held_out_clip(
    held_out: dict[str, Any] | None, wrapper: EarTrainingWrapper, sample_rate: int, channels: int
) -> HeldOutClip | None:
    """The first clip of the held-out set; None where the data set is a stream or sets nothing aside."""
    if held_out is None or held_out.get("dataset_type") not in ("ear_demo", "ear_audio"):
        return None
    hop = wrapper.autoencoder.downsampling_ratio
    size = int(SECONDS * sample_rate) // hop * hop
    audio, _ = create_dataset(held_out, size, sample_rate, channels)[0]
    return HeldOutClip(audio, sample_rate, wrapper.bundle)


def _left_out_at_start(loader: Any) -> list[str]:
    return [f"{path}: {reason}" for path, reason in getattr(getattr(loader, "dataset", None), "left_out", {}).items()]


def _finish(
    run: RunFolder,
    wrapper: Any,
    model_config: dict[str, Any],
    seconds: float,
    clip: HeldOutClip | None,
    table: list[tuple[str, list[float]]],
    left_out: list[str],
) -> None:
    """Exports the model, draws the curves, prints the table and what was left out."""
    series = MetricsCsv.read(run.metrics_csv) if run.metrics_csv.exists() else {}
    if not isinstance(wrapper, EarTrainingWrapper):
        return
    starts = wrapper.schedule.starts
    marks = {
        start: phase.name
        for start, phase in zip(starts, wrapper.schedule.phases, strict=True)
        if start <= wrapper.rounds
    }
    save_curves(run.root / "curves.png", series, run.root.name, marks=marks)
    save_autoencoder(wrapper.exported_autoencoder, run.export / "model.ckpt")
    save_autoencoder(wrapper.exported_autoencoder, run.export / "model.safetensors", use_safetensors=True)
    write_text_atomic(run.export / "model_config.json", run.model_config.read_text(encoding="utf-8"))
    notes = [f"{wrapper.rounds} rounds in {seconds:.0f} s; folder: {run.root}"]
    if clip is not None:
        table.append(("after", clip.measure(clip.reconstruct(wrapper))))
        columns = ["held-out clip", *(name.replace("/", "\n") for name in clip.columns)]
        notes.append(
            "noise with the clip's own long-term spectrum scores: "
            + ", ".join(f"{name} {value:.4g}" for name, value in zip(clip.columns, clip.noise(), strict=True))
        )
        print_table("Before and after", columns, table_rows(table), notes=notes)
    else:
        print(notes[0])
    gradients = wrapper.last_output_gradients
    if gradients:
        rows = [[name, norm] for name, norm in gradients.items()]
        print_table(
            "Gradient of each weighted term at the decoder's output (last measurement)",
            ["term", "norm × √samples"],
            rows,
        )
    if wrapper.faults.total:
        print(f"{wrapper.faults.total} batches were skipped because they were not finite")
    if left_out:
        print(f"{len(left_out)} audio files were left out:")
        for line in left_out:
            print(f"  {line}")
