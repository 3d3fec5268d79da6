"""Fréchet audio distance of a system's files to their references, by the package frechet-audio-distance.

It compares distributions of embeddings, not pairs: it hears whether the output sounds like music of that kind, and is
deaf to whether it is the same music. Reading, resampling, embedding, statistics and distance are the package's own, so
that the figure is the one that its ``score`` gives for two folders of these files.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..config import check_choice
from ..errors import UserError, first_line
from ..files import atomic_path, make_folder, stale_files
from ..processes import Runner
from ..versions import versions
from .provenance import identity

if TYPE_CHECKING:
    from frechet_audio_distance import FrechetAudioDistance

PACKAGE = "frechet-audio-distance"

MODELS: dict[str, dict[str, Any]] = {
    "vggish": {"model_name": "vggish", "sample_rate": 16000},  # of Kilgour et al. 2019; hears up to 8 kHz, mono
    "clap": {"model_name": "clap", "submodel_name": "630k-audioset", "sample_rate": 48000},  # mono, 10 s per file
    "clap-music": {"model_name": "clap", "submodel_name": "music_audioset", "sample_rate": 48000},  # the same, of music
    "encodec": {"model_name": "encodec", "sample_rate": 48000, "channels": 2},  # stereo; a codec itself
}
"""Name → how the package is to be constructed.

Its PANN is left out: version 0.3.4 strings the embeddings of all files together, so that mean and covariance are those
of one number instead of 2048.
"""


@dataclass(frozen=True)
class FrechetDistance:
    """The distance of one system.

    Attributes:
        system: its name.
        model: key of :data:`MODELS`.
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


@lru_cache(maxsize=1)
def open_embedding(model: str) -> FrechetAudioDistance:
    """The package's object of that model, once for each process.

    Raises:
        UserError: an unknown model, a missing package, one that does not fit, or weights that cannot be had.
    """
    options = MODELS[check_choice("embedding", model, MODELS)]
    import scipy.linalg
    import torch

    library = _package()

    if "disp" not in inspect.signature(scipy.linalg.sqrtm).parameters:
        raise UserError(f"{PACKAGE} does not work with scipy 1.18 and later; run: pip install 'scipy<1.18'")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return library(**options)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        raise UserError(
            f"the weights of the embedding {model} cannot be had ({first_line(error)}); run the command once with a "
            f"connection, or copy them from a machine that has them: {torch.hub.get_dir()}"
        ) from error


def _package() -> type[FrechetAudioDistance]:
    """The class; what it imports reads the command line of the program, as if it were its own."""
    command, sys.argv = sys.argv, sys.argv[:1]
    try:
        from frechet_audio_distance import FrechetAudioDistance
    except ImportError as error:
        raise UserError(
            f"the Fréchet audio distance needs {PACKAGE}, which does not load ({first_line(error)}); "
            "run: pip install 'ear-sat[fad]'"
        ) from error
    finally:
        sys.argv = command
    return FrechetAudioDistance


def embed(path: Path, model: str) -> np.ndarray | str:
    """The embeddings of a file, (number, dimension), or why there are none. Runs in a worker process."""
    library = open_embedding(model)
    from frechet_audio_distance.utils import load_audio_task

    printed = io.StringIO()  # the package prints what went wrong, and raises something else
    try:
        audio = load_audio_task(str(path), library.sample_rate, library.channels)
        if audio.ndim > 1 and audio.shape[1] != library.channels:
            return f"it has {audio.shape[1]} channels, and {model} takes {library.channels}"
        with contextlib.redirect_stdout(printed), _seeded(path.name):
            embeddings = np.asarray(library.get_embeddings([audio], library.sample_rate))
    except Exception as error:  # whatever libraries raise: one file must not end the batch
        return (printed.getvalue().strip() or first_line(error)).removeprefix("[Frechet Audio Distance] ")
    return embeddings if np.isfinite(embeddings).all() else "its embeddings are not finite"


def distances(
    files: Mapping[str, Sequence[tuple[Path, Path]]], model: str, folder: Path, run: Runner
) -> tuple[FrechetDistance, ...]:
    """The distance of each system.

    Args:
        files: system → (reference, estimate) of each file.
        model: key of :data:`MODELS`.
        folder: where embeddings are kept for the next run.
        run: makes the calls.
    """
    wanted = dict.fromkeys(path for pairs in files.values() for pair in pairs for path in pair)
    kept, failed = keep_embeddings(list(wanted), model, folder, run)
    results = []
    for system, pairs in files.items():
        good = [pair for pair in pairs if kept.keys() >= set(pair)]
        sides = [[np.load(kept[pair[side]]) for pair in good] for side in (0, 1)]
        results.append(_distance(system, model, sides, [p for pair in pairs for p in pair if p in failed], failed))
    return tuple(results)


def keep_embeddings(
    paths: Sequence[Path], model: str, folder: Path, run: Runner
) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Path → file of its embeddings below ``folder``, made where it is missing; path → why there are none."""
    make_folder(folder)
    for stale in stale_files(folder):
        stale.unlink(missing_ok=True)
    kept = {path: folder / f"{_key(path, model)}.npy" for path in paths}
    missing = [path for path, file in kept.items() if not file.exists()]
    failed: dict[Path, str] = {}
    with tqdm(total=len(paths), initial=len(paths) - len(missing), unit="embedding", disable=None) as bar:
        for index, result in run(embed, ((path, model) for path in missing), _died):
            path = missing[index]
            if isinstance(result, str):
                failed[path] = result
            else:
                with atomic_path(kept[path]) as temporary, temporary.open("wb") as file:
                    np.save(file, result)
            bar.update()
    return {path: file for path, file in kept.items() if path not in failed}, failed


def _distance(
    system: str, model: str, sides: list[list[np.ndarray]], bad: list[Path], failed: Mapping[Path, str]
) -> FrechetDistance:
    notes = [f"{len(bad)} file(s) without embeddings, the first: {bad[0].name}: {failed[bad[0]]}"] if bad else []
    reference, estimate = (np.concatenate(side) if side else np.empty((0, 0)) for side in sides)
    count, dimension = (len(reference), len(estimate)), reference.shape[1]
    value = math.nan
    if min(count) < 2:
        notes.append(f"too few files for a covariance: {min(count)} embedding(s), of which two are the least")
    else:
        library = open_embedding(model)
        statistics = (*library.calculate_embd_statistics(reference), *library.calculate_embd_statistics(estimate))
        value = float(library.calculate_frechet_distance(*statistics))
        if min(count) <= dimension:
            notes.append(
                f"too few files for a covariance of full rank: {min(count)} embeddings of {dimension} dimensions, "
                "so that the figure is biased upwards"
            )
    return FrechetDistance(system, model, value, len(sides[0]), count, dimension, "; ".join(notes))


def _died(path: Path, _: str) -> str:
    return f"the process that embedded {path.name} died: damaged data, or too little memory"


def _key(path: Path, model: str) -> str:
    made_with = versions(PACKAGE, "torch", "resampy", "soundfile", "laion-clap", "encodec")
    return hashlib.sha256(repr((identity(path), model, made_with)).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _seeded(name: str) -> Iterator[None]:
    """CLAP draws which ten seconds of a longer file it hears: the same of a file and its reference, and every time."""
    seed = int.from_bytes(hashlib.sha256(Path(name).stem.encode()).digest()[:4], "little")
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
