"""What a model makes of a folder of music, as one more system to evaluate."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from ..data.finding import SUFFIXES
from ..errors import UserError
from ..files import make_folder
from ..inference import Settings, open_model, plan_jobs, reconstruct_files
from ..weights import Source, as_source


def reconstruct_folder(
    name: str, weights: str | Path | Source, data: Path, out: Path, settings: Settings, device: str = "auto"
) -> tuple[Path, dict[Path, str]]:
    """Reconstructs the music in ``data`` below ``out``; finished files of an earlier run are kept.

    Args:
        name: of the model, with which the name of the folder begins.
        weights: its file, and what goes with it.
        data: folder of music.
        out: folder of the evaluation.
        settings: how to reconstruct.
        device: to compute on.

    Returns:
        the folder of the reconstructions, which is another one for other weights or settings, and the files that
        failed with their reasons.

    Raises:
        UserError: no music, weights that cannot be loaded, or not one file that could be reconstructed.
    """
    if not data.is_dir():
        raise UserError(f"no such folder: {data}; give a folder of music")
    folder = out / "reconstructions" / f"{name}-{_digest(weights, settings)}"
    # What only ffmpeg reads cannot be measured against: the evaluation lists it among the files that are not read.
    jobs = [job for job in plan_jobs([data], folder) if _is_ours(job.source, out)]
    for job in jobs:
        if job.output.exists() and job.source.stat().st_mtime > job.output.stat().st_mtime:
            job.output.unlink()  # made from what the source was before
    model = open_model(weights, device, settings)
    make_folder(folder)
    results = reconstruct_files(model, jobs, settings)
    failed = {
        result.job.source: f"could not be reconstructed: {'; '.join(result.notes)}"
        for result in results
        if result.outcome == "failed"
    }
    if len(failed) == len(jobs):
        raise UserError(f"none of the {len(jobs)} files in {data} could be reconstructed; see the messages above")
    return folder, failed


def _digest(weights: str | Path | Source, settings: Settings) -> str:
    """Eight digits that differ for other weights and for other settings."""
    source = as_source(weights)
    file = Path(source.path)
    state = [_identity(file), _identity(source.model_config or file.with_name("model_config.json"))]
    return hashlib.sha256(repr((state, asdict(settings))).encode()).hexdigest()[:8]


def _identity(file: Path) -> tuple[str, int, int]:
    try:
        status = file.stat()
    except OSError:  # no config beside the weights, or the name of one that comes with ear_sat
        return str(file), 0, 0
    return str(file.resolve()), status.st_size, status.st_mtime_ns


def _is_ours(source: Path, out: Path) -> bool:
    return source.suffix.lower() in SUFFIXES and out.resolve() not in source.resolve().parents
