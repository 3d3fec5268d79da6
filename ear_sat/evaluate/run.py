"""One call from folders to files: measure, summarise, write results, render clips, write the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from ..checks import require_whole
from ..codecs import CodecFacts
from ..config import check_choice
from ..data.parts import UnusableFileError
from ..errors import UserError
from ..files import disk_errors, write_text
from ..metrics import METRICS
from ..processes import Runner, workers
from .cache import ResultCache
from .clips import Clip, ClipChoice, choose_clips, render_clip
from .engine import Evaluation, check_processes, measure_missing, summarise_results
from .files import write_results
from .page import evaluation_page
from .pairing import pair_files

DEFAULT_CLIPS = 12
MAX_CLIP_BYTES = 28_000_000
"""Pictures and audio of a page; with text and plots it stays under 30 MB."""


def evaluate(
    reference: Path,
    estimates: Mapping[str, Path],
    out: Path,
    *,
    align: bool = False,
    processes: int | None = None,
    clips: int | None = DEFAULT_CLIPS,
    audio: bool = True,
    rank_by: str = "stft_distance",
    seed: int = 0,
    paper_table: bool = False,
    reasons: Mapping[Path, str] | None = None,
    codecs: Mapping[str, CodecFacts] | None = None,
) -> Evaluation:
    """Evaluates systems against references and writes results.json, .csv, .md and report.html into ``out``.

    Pairs that an earlier call with the same settings has measured are taken from ``out/cache``.

    Args:
        reference: folder of the references, or one file.
        estimates: system → folder of its estimates under the same names, or one file.
        out: folder for the results; made if needed.
        align: take detected constant offsets out.
        processes: how many to use, default one per core.
        clips: how many clips the report shows; None plays all files and pictures the first 12 of them.
        audio: whether clips can be played.
        rank_by: metric by which worst and best clips are chosen.
        seed: of the bootstrap.
        paper_table: add the published figures.
        reasons: why a reference has no estimate, where that is known.
        codecs: system → what its codec costs, where that is known.

    Raises:
        UserError: nothing to compare, an argument out of range, or a full disk. Files that cannot be used raise
            nothing: see :attr:`Evaluation.failures`.
    """
    check_choice("metric", rank_by, METRICS)
    if clips is not None:
        require_whole("the number of clips", clips, at_least=0)
    for name in estimates:
        if not name.strip() or name == "reference":
            raise UserError(f"'{name}' cannot name a system; choose another name")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results")
    check_processes(processes, 1)
    with disk_errors(out):
        pairing = pair_files(reference, estimates, without=out, reasons=reasons)
        cache = ResultCache(out / "cache", {"align": align})
        known = [result for pair in pairing.pairs if (result := cache.read(pair)) is not None]
        files = len({pair.file for pair in pairing.pairs})
        most_jobs = max(len(pairing.pairs) - len(known), files if clips is None else min(clips, files), 1)
        with workers(check_processes(processes, most_jobs)) as run:
            results = measure_missing(pairing.pairs, known, cache, align, run)
            summaries = summarise_results(results, list(estimates), seed)
            evaluation = Evaluation(reference, dict(estimates), align, seed, pairing, results, *summaries, codecs or {})
            write_results(evaluation, out, paper_table)  # first of all: what follows is only for looking at
            choices, rendered, note = _clips(evaluation, clips, audio, rank_by, run)
        write_text(out / "report.html", evaluation_page(evaluation, rendered, choices, note, paper_table))
        return evaluation


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
