"""The page of a blind test: which clips, rendered, under names that tell nothing, in one HTML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import UserError
from ..evaluate import Evaluation
from ..evaluate.clips import choose_clips
from ..evaluate.engine import check_processes
from ..evaluate.loading import SAMPLE_RATE
from ..files import disk_errors, write_text
from ..metrics import METRICS
from ..processes import workers
from ..report.html import render
from .key import draw_names
from .methods import METHODS, check_systems
from .stimuli import Stimuli, render_stimuli

DEFAULT_TRIALS = 16
MAX_BYTES = 80_000_000
"""Of a page, which browsers hold in memory whole."""


@dataclass(frozen=True)
class ListeningTest:
    """What was written: ``path``, the number of ``clips`` and of the ``versions`` of each, and the page's ``bytes``."""

    path: Path
    clips: int
    versions: int
    bytes: int


def write_test(
    evaluation: Evaluation,
    out: Path,
    method: str,
    *,
    clips: int | None,
    trials: int = DEFAULT_TRIALS,
    rank_by: str = "stft_distance",
    processes: int | None = None,
) -> ListeningTest:
    """Writes ``out/mushra.html`` or ``out/abx.html``.

    The clips are chosen and cut as those of the report, from the files that all systems have. The same evaluation and
    seed give the same page.

    Args:
        evaluation: the systems, their files, and the seed.
        out: folder for the page.
        method: "mushra" or "abx".
        clips: how many; None for all files, whatever the page's size. Fewer are taken where the page would be larger
            than 80 MB.
        trials: of each pair, for "abx".
        rank_by: metric by which worst and best clips are chosen.
        processes: how many to use, default one per core.

    Raises:
        UserError: no file that all systems have, systems that the method cannot test, or a full disk.
    """
    check_systems(method, evaluation.systems)
    if not evaluation.shared:
        raise UserError("a listening test needs a file that all systems have; there is none")
    stimuli = _stimuli(evaluation, method, clips, rank_by, processes)
    text = _page(stimuli, method, trials, evaluation.seed)
    path = out / f"{method}.html"
    with disk_errors(out):
        write_text(path, text)
    return ListeningTest(path, len(stimuli), len(stimuli[0].audio), len(text.encode()))


def _stimuli(
    evaluation: Evaluation, method: str, count: int | None, rank_by: str, processes: int | None
) -> list[Stimuli]:
    """Rendered clips: as many of the choices as fit."""
    shared = set(evaluation.shared)
    results = [result for result in evaluation.results if result.file in shared]

    def choose(limit: int | None) -> list[str]:
        higher = METRICS[rank_by].higher_is_better
        return [choice.file for choice in choose_clips(results, evaluation.systems, rank_by, higher, limit)]

    files = choose(count)
    reference = {result.file: Path(result.reference) for result in results}
    jobs = [
        (
            file,
            reference[file],
            {result.system: Path(result.estimate) for result in results if result.file == file},
            evaluation.align,
            METHODS[method].anchors,
        )
        for file in files
    ]
    rendered = {}
    with workers(check_processes(processes, len(jobs))) as run, tqdm(total=len(jobs), unit="clip", disable=None) as bar:
        for _, clip in run(render_stimuli, jobs):
            if clip is not None:
                rendered[clip.file] = clip
            bar.update()
    while count is not None and len(files) > 1 and sum(rendered[f].size() for f in files if f in rendered) > MAX_BYTES:
        files = choose(len(files) - 1)  # fewer choices are always the first of more choices
    kept = [rendered[file] for file in files if file in rendered]
    if not kept:
        raise UserError(
            "no file could be read again for the listening test: they have changed since they were measured"
        )
    return kept


def _page(stimuli: Sequence[Stimuli], method: str, trials: int, seed: int) -> str:
    clip_of = {clip.file: clip for clip in stimuli}
    key, drawn = draw_names({clip.file: list(clip.audio) for clip in stimuli}, seed)
    audio = {
        name: clip_of[key.clips[clip]].audio[key.versions[name]] for clip, names in drawn.items() for name in names
    }
    study: dict[str, Any] = {
        "method": method,
        "rate": SAMPLE_RATE,
        "trials": trials if METHODS[method].trials else 1,
        "clips": [
            {"name": clip, "seconds": clip_of[key.clips[clip]].seconds, "versions": names}
            for clip, names in drawn.items()
        ],
        "key": key.encode(),
    }
    # Answers belong to this page and to no other: not to one with other audio under the same names either.
    digest = hashlib.sha256(json.dumps([study, audio], sort_keys=True).encode()).hexdigest()
    return render(
        "blind.html",
        title=METHODS[method].title,
        lead="",
        alerts=[],
        method=method,
        study={"id": digest[:12], **study},
        audio=audio,
        versions=len(stimuli[0].audio),
    )
