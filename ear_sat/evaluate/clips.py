"""The clips of the report: which files, why, and what there is to see and to hear."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..report.excerpts import match_loudness, mp3_uri
from ..report.pictures import (
    difference_picture,
    goniometer_picture,
    goniometer_scale,
    mean_levels,
    phase_error_picture,
    spectrogram_picture,
    top_level,
)
from .excerpt import load_excerpt
from .loading import SAMPLE_RATE
from .measure import PairResult


@dataclass(frozen=True)
class ClipChoice:
    """A file for the report and why it was chosen: sentences such as "worst of A"."""

    file: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """The reference, or what a system made of it. Pictures and audio are data addresses; None where there are none.

    ``gain_db`` makes this version as loud as the others of its clip; ``correlation`` is that of left and right.
    """

    name: str
    audio: str | None
    loudness: float
    gain_db: float
    correlation: float
    spectrogram: str | None = None
    difference: str | None = None
    phase_error: str | None = None
    goniometer: str | None = None


@dataclass(frozen=True)
class Clip:
    """An excerpt, ``start`` … ``start + seconds`` of the reference; the first version is the reference.

    ``top`` is the upper end of the spectrograms' colour scale in dBFS.
    """

    file: str
    start: float
    seconds: float
    top: float
    versions: tuple[Version, ...]

    def size(self) -> int:
        """Bytes that the clip adds to a page."""
        return sum(
            len(data or "")
            for v in self.versions
            for data in (v.audio, v.spectrogram, v.difference, v.phase_error, v.goniometer)
        )


def choose_clips(
    results: Sequence[PairResult], systems: Sequence[str], metric: str, higher_is_better: bool, count: int | None
) -> list[ClipChoice]:
    """Up to ``count`` files (None: all): each system's worst and best by ``metric`` in turn; the worst come first.

    Files where the metric is undefined for all systems come last.
    """
    scores: dict[str, dict[str, float]] = {}
    for result in results:
        if result.error is None:
            value = result.values.get(metric, math.nan)
            scores.setdefault(result.file, {})[result.system] = value if higher_is_better else -value
    ordered = {
        system: sorted(
            (file for file, row in scores.items() if not math.isnan(row.get(system, math.nan))),
            key=lambda file: scores[file][system],
        )
        for system in systems
    }
    limit = len(scores) if count is None else min(count, len(scores))
    chosen: dict[str, None] = {}
    for index in range(len(scores)):  # worst and best of every system, then the second worst and best, …
        turn = [files[place] for place in (index, -1 - index) for files in ordered.values() if index < len(files)]
        for file in turn:
            if len(chosen) < limit:
                chosen[file] = None
    for file in scores:
        if len(chosen) < limit:
            chosen[file] = None
    means = {file: _mean(list(scores[file].values())) for file in chosen}
    return [
        ClipChoice(file, _reasons(file, ordered))
        for file in sorted(chosen, key=lambda file: (math.isnan(means[file]), means[file]))
    ]


def render_clip(
    file: str, reference: Path, estimates: Mapping[str, Path], align: bool, audio: bool, pictures: bool
) -> Clip:
    """Loads one file of all systems, takes the excerpt where they err most, and renders it. Runs in a worker process.

    Raises:
        UnusableFileError: a file has become unreadable since it was measured.
    """
    excerpt = load_excerpt(reference, estimates, align)
    loudness, gains = match_loudness(excerpt.signals.values(), SAMPLE_RATE)
    target = excerpt.signals["reference"]
    target_level = mean_levels(target, SAMPLE_RATE)
    top, scale = top_level(target_level), goniometer_scale(target)
    versions = []
    for index, (name, signal) in enumerate(excerpt.signals.items()):
        shown: dict[str, str | None] = {}
        if pictures:
            level = target_level if index == 0 else mean_levels(signal, SAMPLE_RATE)
            shown = {
                "spectrogram": spectrogram_picture(level, top),
                "goniometer": goniometer_picture(signal, scale),
            }
            if index > 0:
                shown["difference"] = difference_picture(level, target_level, top)
                shown["phase_error"] = phase_error_picture(signal, excerpt.targets[name], SAMPLE_RATE, top)
        versions.append(
            Version(
                name,
                mp3_uri(signal, SAMPLE_RATE) if audio else None,
                loudness[index],
                gains[index],
                _correlation(signal),
                **shown,
            )
        )
    return Clip(file, excerpt.start / SAMPLE_RATE, excerpt.length / SAMPLE_RATE, top, tuple(versions))


def _correlation(signal: Tensor) -> float:
    """Correlation of left and right from −1 to 1; NaN where there are not two sounding channels."""
    if signal.shape[0] != 2:
        return math.nan
    left, right = signal.double()
    norm = float((left.square().sum() * right.square().sum()).sqrt())
    return float((left * right).sum()) / norm if norm > 0 else math.nan


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _reasons(file: str, ordered: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Of which systems ``file`` is the worst and the best; ``ordered`` has each system's files, the worst first."""
    systems = {system: files for system, files in ordered.items() if len(files) > 1}
    reasons: list[str] = []
    for word, place in (("worst", 0), ("best", -1)):
        found = [system for system, files in systems.items() if files[place] == file]
        all_of_them = len(found) == len(systems) > 2
        reasons += [f"{word} of all"] if all_of_them else [f"{word} of {system}" for system in found]
    return tuple(reasons)
