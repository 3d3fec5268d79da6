"""Embeddings of audio by the networks of frechet-audio-distance, kept on disk for the next run and for other machines.

A file of them tells of which audio they are and what made them, so that folders of several machines can be merged.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import json
import random
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..config import check_choice
from ..errors import REFUSALS, UserError, first_line, in_words
from ..files import atomic_path, make_folder, stale_files
from ..processes import Runner
from ..versions import versions
from .provenance import identity

if TYPE_CHECKING:
    from frechet_audio_distance import FrechetAudioDistance

FOLDER = "embeddings"
"""Below the folder of an evaluation."""

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


@lru_cache(maxsize=1)
def open_embedding(model: str) -> FrechetAudioDistance:
    """The package's object of that model, once for each process.

    Raises:
        UserError: an unknown model, a missing package, one that does not fit, or weights that cannot be had.
    """
    options = MODELS[check_choice("embedding", model, MODELS)]
    import torch

    library = fad_class()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return library(**options)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        raise UserError(
            f"the weights of the embedding {model} cannot be had ({first_line(error)}); run the command once with a "
            f"connection, or copy them from a machine that has them: {torch.hub.get_dir()}"
        ) from error


def fad_class() -> type[FrechetAudioDistance]:
    """The class; what it imports reads the command line of the program, as if it were its own.

    Raises:
        UserError: the package is missing, or does not fit.
    """
    import scipy.linalg

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
    if "disp" not in inspect.signature(scipy.linalg.sqrtm).parameters:
        raise UserError(f"{PACKAGE} does not work with scipy 1.18 and later; run: pip install 'scipy<1.18'")
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


def keep_embeddings(
    paths: Sequence[Path], model: str, folder: Path, run: Runner
) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Path → file of its embeddings below ``folder``, made where it is missing; path → why there are none."""
    make_folder(folder)
    for stale in stale_files(folder):
        stale.unlink(missing_ok=True)
    kept = {path: folder / f"{_key(path, model)}.npz" for path in paths}
    missing = [path for path, file in kept.items() if not file.exists()]
    failed: dict[Path, str] = {}
    with tqdm(total=len(paths), initial=len(paths) - len(missing), unit="embedding", disable=None) as bar:
        for index, result in run(embed, ((path, model) for path in missing), _died):
            path = missing[index]
            if isinstance(result, str):
                failed[path] = result
            else:
                about = {"model": model, "path": str(path), "versions": _versions(), "made": time.time()}
                with atomic_path(kept[path]) as temporary, temporary.open("wb") as file:
                    np.savez(file, embeddings=result, about=np.bytes_(json.dumps(about).encode()))
            bar.update()
    return {path: file for path, file in kept.items() if path not in failed}, failed


def stored_embeddings(folder: Path) -> dict[tuple[str, str], Path]:
    """(model, path of the audio as it was called) → file of its newest embeddings in ``folder``.

    Raises:
        UserError: a file is damaged.
    """
    about = {file: read_about(file) for file in folder.glob("*.npz")}
    ordered = sorted(about.items(), key=lambda item: item[1]["made"])
    return {(entry["model"], entry["path"]): file for file, entry in ordered}


def read_embeddings(file: Path) -> np.ndarray:
    """The embeddings in a file, (number, dimension).

    Raises:
        UserError: it is damaged.
    """
    with _stored(file) as stored:
        embeddings: np.ndarray = stored["embeddings"]
        return embeddings


def read_about(file: Path) -> dict[str, Any]:
    """What a file of embeddings says of them: model, path, versions of the software, and when they were made.

    Raises:
        UserError: it is damaged.
    """
    with _stored(file) as stored:
        about: dict[str, Any] = json.loads(stored["about"].item())
        if not (isinstance(about["model"], str) and isinstance(about["path"], str) and about["versions"]):
            raise TypeError("it does not say of which audio they are")
        about["made"] = float(about["made"])
        return about


@contextlib.contextmanager
def _stored(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with np.load(file) as stored:
            yield stored
    except (OSError, EOFError, zipfile.BadZipFile, *REFUSALS) as error:
        raise UserError(
            f"cannot read the embeddings in {file}: {in_words(error)}; copy it again, or delete it"
        ) from error


def _died(path: Path, _: str) -> str:
    return f"the process that embedded {path.name} died: damaged data, or too little memory"


def _key(path: Path, model: str) -> str:
    """The path as it was called too: by that the results of a pair name it, on whatever machine they are read."""
    parts = str(path), identity(path), model, _versions()
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _versions() -> dict[str, str | None]:
    return versions(PACKAGE, "torch", "resampy", "soundfile", "laion-clap", "encodec")


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
