"""The files that listeners send back: read, checked, decoded and put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..config import build
from ..errors import UserError
from ..json_file import load_json
from ..value_types import OneOf, Range
from .key import Key
from .methods import METHODS, REFERENCE

FORMAT = "ear-sat listening answers 1"

Score = Annotated[float, Range(at_least=0, at_most=100)]


@dataclass(frozen=True)
class Rating:
    """What a listener gave a version of a clip: ``score`` from 0 to 100."""

    clip: str
    version: str
    score: float


@dataclass(frozen=True)
class Block:
    """All trials of a listener with a clip of a system: how many there were, and how many were right."""

    clip: str
    system: str
    correct: int
    trials: int


@dataclass(frozen=True)
class Answers:
    """A listener's finished trials.

    Attributes:
        path: the file.
        listener: name.
        session, study, method: which session, of which page, of which kind of test.
        ratings: of a MUSHRA test.
        blocks: of an ABX test.
        done, planned: clips, or pairs of ABX.
    """

    path: Path
    listener: str
    session: str
    study: str
    method: str
    ratings: tuple[Rating, ...]
    blocks: tuple[Block, ...]
    done: int
    planned: int


@dataclass(frozen=True)
class _File:
    """The JSON object, as ``blind.js`` writes it."""

    format: str
    study: str
    method: Annotated[str, OneOf(tuple(METHODS))]
    listener: str
    session: str
    trials: Sequence[Mapping[str, object]]
    key: str
    began: str = ""
    saved: str = ""
    trained: bool = False


@dataclass(frozen=True)
class _Trial:
    """What ``mushra.js`` keeps of a clip."""

    clip: str
    versions: Sequence[str]
    scores: Sequence[Score | None]
    heard: Sequence[float]
    done: bool

    def decode(self, key: Key) -> list[Rating]:
        scores = zip(self.versions, self.scores, strict=True)
        return [Rating(key.clips[self.clip], key.versions[name], score) for name, score in scores if score is not None]


@dataclass(frozen=True)
class _Pair:
    """What ``abx.js`` keeps of a pair."""

    clip: str
    pair: Sequence[str]
    x: Sequence[str]
    answers: Sequence[str]
    heard: Sequence[float]
    done: bool

    def decode(self, key: Key) -> list[Block]:
        if not self.x:
            raise ValueError("a pair without trials")
        (system,) = (key.versions[name] for name in self.pair if key.versions[name] != REFERENCE)
        correct = sum(answer == x for answer, x in zip(self.answers, self.x, strict=True))
        return [Block(key.clips[self.clip], system, correct, len(self.x))]


def read_answers(path: Path) -> Answers:
    """Reads the JSON file of one listener.

    Raises:
        UserError: there is no such file, it is damaged, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path} is a folder; give the JSON files in it" if path.is_dir() else f"no such file: {path}")
    content = load_json(path)
    if content.get("format") != FORMAT:
        raise UserError(f"{path} holds no answers of a listening test; give a JSON file that its page has saved")
    file = build(str(path), _File, content)
    kind: Callable[..., _Trial | _Pair] = _Pair if METHODS[file.method].trials else _Trial
    trials = [build(f"{path}: trials[{index}]", kind, entry) for index, entry in enumerate(file.trials)]
    try:
        key = Key.decode(file.key)
        decoded = [each for trial in trials if trial.done for each in trial.decode(key)]
    except (KeyError, ValueError):  # names that the key lacks, lists of unlike lengths, a key that is none
        raise UserError(f"{path} is damaged: its trials and its key do not fit; ask for the file again") from None
    return Answers(
        path,
        file.listener,
        file.session,
        file.study,
        file.method,
        tuple(each for each in decoded if isinstance(each, Rating)),
        tuple(each for each in decoded if isinstance(each, Block)),
        sum(trial.done for trial in trials),
        len(trials),
    )


def merge_answers(answers: Sequence[Answers]) -> tuple[list[Answers], list[str]]:
    """One entry per listener, in their order, and notes about what was left out and what is missing.

    Of several files of one session, the one with the most finished trials counts.

    Raises:
        UserError: no files, files of different tests, or two listeners of one name.
    """
    if not answers:
        raise UserError("give at least one file of answers")
    first = answers[0]
    notes = []
    sessions: dict[str, Answers] = {}
    for each in answers:
        if (each.study, each.method) != (first.study, first.method):
            raise UserError(f"{first.path} and {each.path} are answers to different tests; merge those of one page")
        known = sessions.get(each.session)
        if known is not None:
            less, more = sorted((known, each), key=lambda file: file.done)
            notes.append(f"{less.path.name} was left out: {more.path.name} is of the same session")
            each = more
        sessions[each.session] = each
    merged = list(sessions.values())
    listeners: dict[str, Answers] = {}
    for each in merged:
        other = listeners.setdefault(each.listener, each)
        if other is not each:
            raise UserError(
                f"{other.path} and {each.path} are two sessions of the listener {each.listener}; give one of them, or "
                'change "listener" in the other'
            )
    notes += [f"{each.listener} finished {each.done} of {each.planned}" for each in merged if each.done < each.planned]
    return merged, notes
