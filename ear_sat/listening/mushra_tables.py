"""Tables of a MUSHRA test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .answers import Answers, Rating
from .scores import Score, score
from .screening import Screening, screen
from .table import Table

COLUMNS = ("mean", "low", "high", "median", "listeners", "ratings")
EXPECTED_LISTENERS = 20
LEGEND = (
    "mean: of the listeners' means; low and high: its 95 % interval by Student's t over these; median: of all ratings"
)


def mushra_tables(answers: Sequence[Answers]) -> tuple[list[Table], Table, list[str]]:
    """Tables, all ratings, and notes about who was excluded."""
    screenings = {each.listener: screen(each.ratings) for each in answers}
    everybody = {each.listener: each.ratings for each in answers}
    kept = {listener: ratings for listener, ratings in everybody.items() if not screenings[listener].excluded}
    tables = [Table("Scores", ("version", *COLUMNS), _scores(kept), (LEGEND,))]
    if len(kept) < len(everybody):
        tables.append(Table("Scores without post-screening", ("version", *COLUMNS), _scores(everybody)))
    tables.append(_listeners(screenings))
    clips = dict.fromkeys(rating.clip for ratings in kept.values() for rating in ratings)
    by_clip = [[clip, *row] for clip in clips for row in _scores(kept, clip)]
    tables.append(Table("Scores per clip", ("clip", "version", *COLUMNS), by_clip, printed=False))
    raw = [
        [each.listener, rating.clip, rating.version, rating.score, each.listener in kept]
        for each in answers
        for rating in each.ratings
    ]
    return tables, Table("Ratings", ("listener", "clip", "version", "score", "kept"), raw), _notes(screenings)


def _scores(by_listener: Mapping[str, Sequence[Rating]], clip: str | None = None) -> list[list[Any]]:
    """One row per version, the best first."""
    versions = dict.fromkeys(rating.version for ratings in by_listener.values() for rating in ratings)
    found = {version: each for version in versions if (each := score(by_listener, version, clip))}
    best_first = sorted(found.items(), key=lambda item: -item[1].mean)
    return [[version, *_cells(each)] for version, each in best_first]


def _cells(score: Score) -> list[float | int | None]:
    values = (score.mean, score.low, score.high, score.median)
    return [*(None if math.isnan(value) else float(value) for value in values), score.listeners, score.ratings]


def _listeners(screenings: Mapping[str, Screening]) -> Table:
    rows = [
        [name, each.items, each.reference_below, each.mid_anchor_above, "excluded" if each.excluded else "kept"]
        for name, each in screenings.items()
    ]
    columns = ("listener", "clips", "reference below 90", "7 kHz anchor above 90", "post-screening")
    rule = "BS.1534-3 excludes who rates the hidden reference below 90 in more than 15 % of the clips"
    return Table("Listeners", columns, rows, (rule,))


def _notes(screenings: Mapping[str, Screening]) -> list[str]:
    notes = [
        f"{name} was excluded: the hidden reference is below 90 in {each.reference_below} of {each.items} clips"
        for name, each in screenings.items()
        if each.excluded
    ]
    notes += [
        f"{name} rated the 7 kHz anchor above 90 in {each.mid_anchor_above} of {each.items} clips, more than 15 %: a "
        "listener who does not hear it, or music with little above 7 kHz"
        for name, each in screenings.items()
        if each.flagged
    ]
    kept = sum(each.items > 0 and not each.excluded for each in screenings.values())
    if kept < EXPECTED_LISTENERS:
        notes.append(f"{kept} listener(s) count; BS.1534 expects about {EXPECTED_LISTENERS}")
    return notes
