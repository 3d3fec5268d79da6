"""The end of a run: export, curves, the table of the held-out clip, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import soundfile
import torch
from torch import Tensor

from ...files import write_text
from ...report.listening import save_listening_page
from ...report.plots import save_curves
from ...report.tables import print_table
from ...weights import write_weights
from ..wrapper import EarTrainingWrapper
from .folder import RunFolder
from .held_out import HeldOut
from .metrics_csv import MetricsCsv

#: How many earlier states of a model the page lets one hear.
EARLIER = 3


def finish(
    run: RunFolder,
    trainer: pl.Trainer,
    wrapper: EarTrainingWrapper,
    seconds: float,
    held_out: HeldOut | None,
    left_out: Sequence[str],
) -> None:
    """Writes ``export/``, ``curves.png`` and ``listen.html``, then prints the results."""
    print("writing curves and export, and measuring", flush=True)
    write_curves(run, wrapper)
    wrapper.export_model(str(run.export / "model.ckpt"))
    wrapper.export_model(str(run.export / "model.safetensors"), use_safetensors=True)
    write_text(run.export / "model_config.json", run.model_config.read_text(encoding="utf-8"))
    done = f"{wrapper.rounds} rounds, {seconds:.0f} s of training; folder: {run.root}"
    if held_out is None:
        print(done)
    else:
        clip = held_out.clip
        noise = ", ".join(f"{name} {value:.4g}" for name, value in zip(clip.columns, clip.noise(), strict=True))
        columns = ["held-out clip", *(name.replace("/", "\n") for name in clip.columns)]
        notes = [f"noise with the clip's own long-term spectrum per channel scores: {noise}", done]
        preds = held_out.reconstruct(wrapper)
        if save_listening_page(
            run.listening_page,
            f"{run.root.name}: the held-out clip",
            f"{wrapper.rounds} rounds of training, none of them on this clip.",
            {
                "held-out clip": {
                    "original": clip.clip,
                    **_earlier(run, wrapper.rounds, clip.clip),
                    f"round {wrapper.rounds}": preds,
                }
            },
            clip.sample_rate,
        ):
            notes.append(f"listen: {run.listening_page}")
        print_table("Before and after", columns, held_out.rows(trainer, wrapper, preds), notes=notes)
    if wrapper.last_output_gradients:
        title = "Gradient of each weighted term at the decoder's output (last measurement)"
        print_table(title, ["term", "norm × √samples"], [[*item] for item in wrapper.last_output_gradients.items()])
    if wrapper.faults.total:
        print(f"{wrapper.faults.total} batches were skipped because they were not finite")
    _print_left_out(left_out)


def _earlier(run: RunFolder, rounds: int, clip: Tensor) -> dict[str, Tensor]:
    """The clip as it sounded at up to :data:`EARLIER` earlier rounds, the first among them: "round N" → audio."""
    names = (path.name.partition("-")[2] for path in run.demos.glob("step-*"))
    steps = sorted(int(name) for name in names if name.isdecimal() and int(name) < rounds)
    chosen = {steps[i * (len(steps) - 1) // (EARLIER - 1)] for i in range(EARLIER)} if steps else set()
    found = {}
    for step in sorted(chosen):
        audio = [run.demos / f"step-{step}" / f"clip-0.{side}.wav" for side in ("target", "estimate")]
        try:
            target, estimate = (torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for file in audio)
        except soundfile.SoundFileError:  # a demo that a full disk has cost
            continue
        target, estimate = (x.reshape(len(x), -1).T for x in (target, estimate))
        if target.shape == clip.shape and torch.allclose(target, clip.clamp(-1, 1), atol=2**-22):  # of 24 bits
            found[f"round {step}"] = estimate
    return found


def finish_export(
    run: RunFolder, state: Mapping[str, Tensor], rounds: int, seconds: float, left_out: Sequence[str]
) -> None:
    """The same for a model of another kind: export of its ``state``, curves, what was left out."""
    _draw(run, {})
    for name in ("model.ckpt", "model.safetensors"):
        write_weights(state, run.export / name, overwrite=True)
    write_text(run.export / "model_config.json", run.model_config.read_text(encoding="utf-8"))
    print(f"{rounds} rounds, {seconds:.0f} s of training; folder: {run.root}")
    _print_left_out(left_out)


def _print_left_out(lines: Sequence[str]) -> None:
    if lines:
        print(f"{len(lines)} audio files were left out:", *lines, sep="\n  ")


def write_curves(run: RunFolder, wrapper: EarTrainingWrapper) -> None:
    """Draws ``metrics.csv`` with the starts of the phases."""
    phases = zip(wrapper.schedule.starts, wrapper.schedule.phases, strict=True)
    marks = {start: phase.name for start, phase in phases if start <= wrapper.rounds}
    _draw(run, marks)


def _draw(run: RunFolder, marks: Mapping[int, str]) -> None:
    series: dict[str, Any] = MetricsCsv.read(run.metrics_csv) if run.metrics_csv.exists() else {}
    save_curves(run.root / "curves.png", series, run.root.name, marks=marks)
