"""Fréchet audio distance of a system's files to their references, by the package frechet-audio-distance.

It compares distributions of embeddings, not pairs: it hears whether the output sounds like music of that kind, and is
deaf to whether it is the same music. Reading, resampling, embedding, statistics and distance are the package's own, so
that the figure is the one that its ``score`` gives for two folders of these files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..processes import Runner
from .embeddings import fad_class, keep_embeddings, read_about, read_embeddings


@dataclass(frozen=True)
class FrechetDistance:
    """The distance of one system.

    Attributes:
        system: its name.
        model: key of :data:`.embeddings.MODELS`.
        value: the distance; NaN where there are too few embeddings. Less is better, 0 for the same embeddings.
        files: whose embeddings went into it.
        embeddings: their numbers, of the references and of the system.
        dimension: of an embedding.
        note: what is to be said of it; "" for nothing.
    """

    system: str
    model: str
    value: float
    files: int
    embeddings: tuple[int, int]
    dimension: int
    note: str = ""


def distances(
    files: Mapping[str, Sequence[tuple[Path, Path]]], model: str, folder: Path, run: Runner
) -> tuple[FrechetDistance, ...]:
    """The distance of each system.

    Args:
        files: system → (reference, estimate) of each file.
        model: key of :data:`.embeddings.MODELS`.
        folder: where embeddings are kept for the next run.
        run: makes the calls.
    """
    wanted = dict.fromkeys(path for pairs in files.values() for pair in pairs for path in pair)
    kept, failed = keep_embeddings(list(wanted), model, folder, run)
    results = []
    for system, pairs in files.items():
        lacking = [f"{path.name}: {failed[path]}" for pair in pairs for path in pair if path in failed]
        results.append(distance(system, model, [(kept.get(a), kept.get(b)) for a, b in pairs], lacking))
    return tuple(results)


def distance(
    system: str, model: str, files: Sequence[tuple[Path | None, Path | None]], lacking: Sequence[str]
) -> FrechetDistance:
    """From embeddings on disk; neither the network nor the audio need be there.

    Args:
        system, model: see :class:`FrechetDistance`.
        files: of embeddings, of (reference, estimate); a pair of which one lacks is left out.
        lacking: which audio has no embeddings, and why.

    Raises:
        UserError: the package is missing or does not fit, or a file is damaged.
    """
    good = [(a, b) for a, b in files if a and b]
    notes = [f"{len(lacking)} file(s) without embeddings, the first: {lacking[0]}"] if lacking else []
    if len({str(read_about(file)["versions"]) for pair in good for file in pair}) > 1:
        notes.append("the embeddings were made with different versions of the software")
    sides = [[read_embeddings(pair[side]) for pair in good] for side in (0, 1)]
    reference, estimate = (np.concatenate(side) if side else np.empty((0, 0)) for side in sides)
    count, dimension = (len(reference), len(estimate)), reference.shape[1]
    value = math.nan
    if min(count) < 2:
        notes.append(f"too few files for a covariance: {min(count)} embedding(s), of which two are the least")
    else:
        library = object.__new__(fad_class())  # statistics and distance need no network
        statistics = (*library.calculate_embd_statistics(reference), *library.calculate_embd_statistics(estimate))
        value = float(library.calculate_frechet_distance(*statistics))
        if min(count) <= dimension:
            notes.append(
                f"too few files for a covariance of full rank: {min(count)} embeddings of {dimension} dimensions, "
                "so that the figure is biased upwards"
            )
    return FrechetDistance(system, model, value, len(good), count, dimension, "; ".join(notes))
