"""What an evaluation leaves to read, to look at and to listen to: results in files, and the page with its clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..checks import require_whole
from ..config import check_choice
from ..data.parts import UnusableFileError
from ..files import make_folder, write_text
from ..metrics import METRICS
from ..parquet import require_pyarrow
from ..processes import Runner
from .clips import Clip, ClipChoice, choose_clips, render_clip
from .engine import Evaluation
from .files import write_results
from .page import evaluation_page
from .references import Reference

DEFAULT_CLIPS = 12
MAX_CLIP_BYTES = 28_000_000
"""Pictures and audio of a page; with text and plots it stays under 30 MB."""


@dataclass(frozen=True)
class Report:
    """What is written, and how.

    Args:
        clips: how many clips the page shows; None plays all files and pictures the first 12 of them.
        audio: whether clips can be played.
        rank_by: metric by which worst and best clips are chosen.
        references: scores of other systems, to stand beside those measured.
        parquet: write results.parquet as well.

    Raises:
        UserError: an unknown metric, less than no clips, or pyarrow is missing.
    """

    clips: int | None = DEFAULT_CLIPS
    audio: bool = True
    rank_by: str = "stft_distance"
    references: Sequence[Reference] = ()
    parquet: bool = False

    def __post_init__(self) -> None:
        check_choice("metric", self.rank_by, METRICS)
        if self.clips is not None:
            require_whole("the number of clips", self.clips, at_least=0)
        if self.parquet:
            require_pyarrow("results.parquet")


def write_report(evaluation: Evaluation, out: Path, report: Report, run: Runner) -> None:
    """Writes results.json, .csv, .md, where asked for .parquet, and report.html into ``out``."""
    make_folder(out)
    write_results(evaluation, out, report.references, report.parquet)  # first: what follows is only for looking at
    choices, rendered, note = _clips(evaluation, report.clips, report.audio, report.rank_by, run)
    write_text(out / "report.html", evaluation_page(evaluation, rendered, choices, note, report.references))


def _clips(
    evaluation: Evaluation, count: int | None, audio: bool, rank_by: str, run: Runner
) -> tuple[list[ClipChoice], list[Clip], str]:
    """Choices, rendered clips in order, and the sentence above them."""
    higher = METRICS[rank_by].higher_is_better

    def choose(limit: int | None) -> list[ClipChoice]:
        return choose_clips(evaluation.results, evaluation.systems, rank_by, higher, limit)

    choices = choose(count)
    pictured = {choice.file for choice in (choices if count is not None else choose(DEFAULT_CLIPS))}
    rendered = _render(evaluation, choices, pictured, audio, run)
    total = len({result.file for result in evaluation.results if result.error is None})
    fitting = len(choices)
    while count is not None and sum(clip.size() for clip in rendered.values()) > MAX_CLIP_BYTES:
        # Fewer choices are always the first of more choices.
        size = sum(clip.size() for clip in rendered.values())
        fitting = max(1, min(fitting - 1, math.floor(fitting * MAX_CLIP_BYTES / size)))
        choices = choose(fitting)
        rendered = {choice.file: rendered[choice.file] for choice in choices if choice.file in rendered}
        if fitting == 1:
            break
    note = _note(evaluation, rendered, total, METRICS[rank_by].label, audio)
    if count is not None and fitting < min(count, total):
        note += " More clips would make the page larger than 30 MB."
    if len(rendered) < len(choices):
        note += f" {len(choices) - len(rendered)} could not be read again: their files have changed since."
    return choices, [rendered[choice.file] for choice in choices if choice.file in rendered], note


def _render(
    evaluation: Evaluation, choices: Sequence[ClipChoice], pictured: set[str], audio: bool, run: Runner
) -> dict[str, Clip]:
    found: dict[str, tuple[Path, dict[str, Path]]] = {}
    for result in evaluation.results:
        if result.error is None:
            estimates = found.setdefault(result.file, (Path(result.reference), {}))[1]
            estimates[result.system] = Path(result.estimate)
    jobs = [(c.file, *found[c.file], evaluation.align, audio, c.file in pictured) for c in choices]
    rendered = {}
    with tqdm(total=len(jobs), unit="clip", disable=None) as bar:
        for index, clip in run(_try_render, jobs):
            if clip is not None:
                rendered[choices[index].file] = clip
            bar.update()
    return rendered


def _try_render(
    file: str, reference: Path, estimates: Mapping[str, Path], align: bool, audio: bool, pictures: bool
) -> Clip | None:
    """:func:`render_clip`, or None where a file has changed or vanished since it was measured."""
    try:
        return render_clip(file, reference, estimates, align, audio, pictures)
    except UnusableFileError:
        return None


def _note(evaluation: Evaluation, rendered: Mapping[str, Clip], total: int, label: str, audio: bool) -> str:
    which = f"All {total}" if len(rendered) == total else f"{len(rendered)} of {total}"
    several = "each system's" if len(evaluation.systems) > 1 else "the"
    note = f"{which} files, {several} worst and best by {label}; the worst come first. "
    note += "Each excerpt is the up to ten seconds in which the errors have the most energy."
    if audio:
        note += (
            " Audio is compressed for this page (MP3, about 180 kbit/s). Loudness-matched playback brings all versions "
            "of a clip to one integrated loudness, low enough that nothing clips."
        )
    return note
