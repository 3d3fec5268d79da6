"""What a model makes of music, as one more system to evaluate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..codecs import Codec, CodecFacts, facts_of
from ..compute import choose_device
from ..data.finding import SUFFIXES
from ..errors import UserError
from ..files import make_folder, write_text
from ..inference import Result, Settings, load_model, made_ready, plan_jobs, reconstruct_files
from ..weights import Source, as_source
from .provenance import identity

#: Beside the reconstructions: what their codec costs, and how long the work took in all runs.
FACTS = "codec.json"


def reconstruct_folder(
    name: str, model: str | Path | Source | Codec, data: Path, out: Path, settings: Settings, device: str = "auto"
) -> tuple[Path, dict[Path, str], CodecFacts]:
    """Reconstructs the music in ``data`` below ``out``; finished files of an earlier run are kept.

    Args:
        name: of the model, with which the name of the folder begins.
        model: the weights of an autoencoder and what goes with them, or a codec of another library.
        data: folder of music, or one file.
        out: folder of the evaluation.
        settings: how to reconstruct.
        device: to compute on.

    Returns:
        the folder of the reconstructions (the reconstruction of one file), which is another one for another model or
        other settings; the files that failed, with their reasons; and what the codec costs.

    Raises:
        UserError: no music, a model that cannot be loaded, or not one file that could be reconstructed.
    """
    if not data.exists():
        raise UserError(f"no such file or folder: {data}; give a folder of music")
    folder = out / "reconstructions" / f"{_file_name(name)}-{_digest(model, settings)}"
    # What only ffmpeg reads cannot be measured against: the evaluation lists it among the files that are not read.
    jobs = [job for job in plan_jobs([data], folder) if data.is_file() or _is_ours(job.source, out)]
    if not jobs and out.resolve() in (data.resolve(), *data.resolve().parents):
        raise UserError(f"{data} lies in {out}, where all files count as results; give another folder for the results")
    for job in jobs:
        if job.output.exists() and job.source.stat().st_mtime > job.output.stat().st_mtime:
            job.output.unlink()  # made from what the source was before
    loaded = model.build().to(choose_device(device)) if isinstance(model, Codec) else load_model(model, device)
    facts = replace(facts_of(loaded), device=str(next(loaded.parameters()).device))
    make_folder(folder)
    results = reconstruct_files(made_ready(loaded, settings), jobs, settings)
    facts = _timed(folder / FACTS, facts, results)
    failed = {
        result.job.source: f"could not be reconstructed: {'; '.join(result.notes)}"
        for result in results
        if result.outcome == "failed"
    }
    if len(failed) == len(jobs):
        raise UserError(f"none of the {len(jobs)} files in {data} could be reconstructed; see the messages above")
    return jobs[0].output if data.is_file() else folder, failed, facts


def _timed(path: Path, facts: CodecFacts, results: Sequence[Result]) -> CodecFacts:
    """The facts with the time of this run and of those before it, which :data:`FACTS` keeps per device."""
    done = [result for result in results if result.outcome == "done"]
    times = _times(path)
    seconds, elapsed = times.get(str(facts.device), (0.0, 0.0))
    seconds, elapsed = seconds + sum(r.seconds for r in done), elapsed + sum(r.elapsed for r in done)
    if elapsed:
        times[str(facts.device)] = (seconds, elapsed)
        facts = replace(facts, times_real_time=seconds / elapsed, timed_seconds=seconds)
    if done or not path.exists():
        write_text(path, json.dumps({**facts.to_json(), "seconds_and_work": times}, indent=1))
    return facts


def _times(path: Path) -> dict[str, tuple[float, float]]:
    """Device → seconds of audio and of work; nothing where there was no run, or its file is damaged."""
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
        return {device: (float(a), float(b)) for device, (a, b) in stored["seconds_and_work"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _file_name(name: str) -> str:
    """``name`` without what separates folders."""
    return name.replace("/", "_").replace("\\", "_").replace(":", "_")


def _digest(model: str | Path | Source | Codec, settings: Settings) -> str:
    """Eight digits that differ for another model and for other settings."""
    if isinstance(model, Codec):
        state: list[Any] = [model.kind, model.bandwidth, *map(identity, model.files)]
    else:
        source = as_source(model)
        file = Path(source.path)
        # There may be no config beside the weights, or it is named and comes with ear_sat.
        state = [identity(file), identity(source.model_config or file.with_name("model_config.json"))]
    return hashlib.sha256(repr((state, asdict(settings))).encode()).hexdigest()[:8]


def _is_ours(source: Path, out: Path) -> bool:
    return source.suffix.lower() in SUFFIXES and out.resolve() not in source.resolve().parents
