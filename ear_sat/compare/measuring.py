"""What a trained run makes of whole tracks: all metrics, and an excerpt to listen to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.finding import audio_stem, find_audio_files
from ..evaluate.excerpt import energy, strongest
from ..evaluate.loading import SAMPLE_RATE, load_pair
from ..evaluate.measure import PairResult, measure_pair
from ..evaluate.pairing import Pair
from ..evaluate.provenance import identity, measured_with
from ..files import make_folder, write_text
from ..host.opening import weights_source
from ..inference import FileJob, Settings, open_model, reconstruct_file
from ..report.audio import save_audio
from .plan import RESERVED
from .training import Run

EXCERPT_SECONDS = 8.0


def tracks_of(folder: Path) -> dict[str, Path]:
    """Name → file of the tracks in a folder."""
    paths = [Path(path) for path in find_audio_files(folder)]
    names = [audio_stem(path.relative_to(folder).as_posix()) for path in paths]
    return {
        name if names.count(name) == 1 else path.relative_to(folder).as_posix(): path
        for name, path in zip(names, paths, strict=True)
    }


@dataclass(frozen=True)
class Measurement:
    """Where the results of a run on a set of tracks lie."""

    run: Run
    tracks: str
    folder: Path

    @property
    def file(self) -> Path:
        """The results, one per track."""
        return self.run.out / "results" / f"{self.run.name}.{self.tracks}.json"

    @property
    def excerpts(self) -> Path:
        """The folder of its excerpts."""
        return self.run.out / "excerpts" / self.tracks / self.run.name

    @property
    def reference_excerpts(self) -> Path:
        """The folder of the same excerpts of the originals."""
        return self.run.out / "excerpts" / self.tracks / RESERVED

    def results(self) -> dict[str, PairResult]:
        """Track → result, of the tracks that are measured and neither of whose files has changed."""
        try:
            stored = json.loads(self.file.read_text(encoding="utf-8"))
            return {
                name: PairResult.from_json(stored["tracks"][name]["result"])
                for name, path in tracks_of(self.folder).items()
                if stored["key"] == self._key() and stored["tracks"].get(name, {}).get("file") == identity(path)
            }
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def keep(self, results: Mapping[str, PairResult]) -> None:
        """Writes the results."""
        paths = tracks_of(self.folder)
        tracks = {name: {"file": identity(paths[name]), "result": results[name].to_json()} for name in results}
        make_folder(self.file.parent)
        write_text(self.file, json.dumps({"key": self._key(), "tracks": tracks}, indent=1) + "\n")

    def _key(self) -> list[Any]:
        return [identity(self.run.weights), measured_with()]


def measure_run(measurement: Measurement, device: str) -> None:
    """Measures what is missing; a track that fails keeps its reason and is tried again by the next call."""
    known = {name: result for name, result in measurement.results().items() if result.error is None}
    missing = {name: path for name, path in tracks_of(measurement.folder).items() if name not in known}
    if not missing:
        return
    settings = Settings(subtype="float", channels="downmix")  # as the measurement does with the references
    model = open_model(weights_source(measurement.run.weights), device, settings)
    make_folder(measurement.excerpts)
    for name, path in missing.items():
        wave = measurement.excerpts / f"{_flat(name)}.whole.wav"
        try:
            reconstruct_file(model, FileJob(path, wave, name), settings)
            known[name] = measure_pair(Pair(name, measurement.run.variant, path, wave))
            if known[name].error is None:
                _cut(measurement, name, path, wave)
        except FloatingPointError as error:  # of a training that has gone wrong
            failed = PairResult(name, measurement.run.variant, str(path), str(wave))
            known[name] = replace(failed, error=f"what the model makes of it is not finite: {error}")
        finally:
            wave.unlink(missing_ok=True)
        measurement.keep(known)


def _cut(measurement: Measurement, name: str, path: Path, wave: Path) -> None:
    """Keeps the loudest seconds of original and reconstruction, which are the same for all runs."""
    pair = load_pair(path, wave)
    size = round(EXCERPT_SECONDS * SAMPLE_RATE)
    start = strongest(energy(pair.target), size) if pair.target.shape[-1] > size else 0
    for folder, audio in ((measurement.excerpts, pair.preds), (measurement.reference_excerpts, pair.target)):
        save_audio(excerpt_file(folder, name), audio[:, start : start + size], SAMPLE_RATE)


def excerpt_file(folder: Path, track: str) -> Path:
    """The excerpt of a track in a folder of excerpts."""
    return folder / f"{_flat(track)}.wav"


def _flat(name: str) -> str:
    return name.replace("/", "_").replace(os.sep, "_")
