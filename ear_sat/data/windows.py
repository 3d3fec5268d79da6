"""Whole files cut into windows of one length; each equals, bit for bit, the training crop at its place."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..config import choice_error
from ..errors import UserError
from ..files import expanded
from ..named_configs import DATASET, load_config
from .base import CropDataset, Sample
from .demo import DemoDataset
from .folder import FolderDataset
from .loader import build_dataset
from .metadata import CustomMetadata
from .parts import UnusableFileError
from .reading import read_crop

FOLDER_ID = "data"  # data set id of a folder that is given without a config
_SLACK_SECONDS = 0.1  # an mp3's length is an estimate: it may end this much earlier than its header says
_INSTEAD = {
    "wds": "it streams shards without fixed places; unpack them (tar -xf) and give the folder",
    "s3": "it streams shards without fixed places; download and unpack them (tar -xf) and give the folder",
    "pre_encoded": "it holds latents already; give the folders of audio that they were made from",
}


class NotFiniteError(UnusableFileError):
    """One window holds NaN or infinite samples; the others of its file may be sound."""


@dataclass(frozen=True)
class Source:
    """One file or synthesised track.

    Attributes:
        dataset_id, relpath: what names it; moving the data set's folder changes neither.
        path: where it is now.
        length: samples per channel at the set's rate.
        read: ``(start, size)`` → float32 (channels of the set, n ≤ size).
        metadata: the data set's custom metadata function.
    """

    dataset_id: str
    relpath: str
    path: str
    length: int
    read: Callable[[int, int], np.ndarray]
    metadata: CustomMetadata | None = None

    @property
    def key(self) -> str:
        """16 hexadecimal digits that depend on ``dataset_id`` and ``relpath`` only."""
        name = f"{self.dataset_id}\0{Path(self.relpath).as_posix()}"
        return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class Window:
    """Window ``number`` (from 0) of a source."""

    source: Source
    number: int

    @property
    def name(self) -> str:
        """``<key of the source>_<number>``."""
        return f"{self.source.key}_{self.number:05d}"


class WindowSet(CropDataset):
    """Consecutive windows of ``sample_size`` samples; the last one of each source is zero-padded.

    Audio and info are those of a training crop (see :meth:`CropDataset.sample`), except that "timestamps" end at 1.

    Attributes:
        windows: in order.
        left_out: path → reason, of files that the headers showed to be unusable.
    """

    def __init__(
        self,
        windows: Iterable[Window],
        sample_size: int,
        sample_rate: int,
        channels: int = 2,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(seed=0, sample_size=sample_size, sample_rate=sample_rate, channels=channels)
        self.windows = list(windows)
        self.left_out = dict(left_out or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # For spawned processes; the inherited epoch in shared memory means nothing here.
        return WindowSet, (self.windows, self.sample_size, self.sample_rate, self.channels, self.left_out)

    def select(self, windows: Iterable[Window]) -> WindowSet:
        """A set of these windows only."""
        return WindowSet(windows, self.sample_size, self.sample_rate, self.channels, self.left_out)

    def items_per_pass(self) -> int:
        return len(self.windows)

    def seconds(self, window: Window) -> float:
        """Length without padding, as the header has it."""
        return min(self.sample_size, window.source.length - window.number * self.sample_size) / self.sample_rate

    def read(self, window: Window) -> Sample | None:
        """Audio (channels, sample_size) and info, without custom metadata.

        None where the file ends just before this window, although its header promised a few samples more.

        Raises:
            UnusableFileError: the file cannot be read here.
            NotFiniteError: it has NaN or infinite samples here.
        """
        source, start = window.source, window.number * self.sample_size
        try:
            audio = source.read(start, self.sample_size)
        except UnusableFileError:
            if start > 0 and source.length - start <= _SLACK_SECONDS * self.sample_rate:
                return None
            raise
        if not np.isfinite(audio).all():
            raise NotFiniteError(f"NaN or infinite samples in window {window.number}")
        sample = self.sample(audio, path=source.path, relpath=source.relpath, start=start, total=source.length)
        begin, end = sample[1]["timestamps"]
        sample[1]["timestamps"] = (begin, min(1.0, end))
        return sample

    def __getitem__(self, index: int) -> Sample:
        sample = self.read(self.windows[self.checked_index(index)])
        if sample is None:
            raise UnusableFileError("the file ends before this window")
        return sample


class _Folders(FolderDataset):
    """Finds the usable files, and applies ``split``."""

    def sources(self, ids: Sequence[str]) -> list[Source]:
        for file in self.files:
            if file.length_at(self.sample_rate) == 0:
                self._leave_out(file.path, f"shorter than one sample at {self.sample_rate} Hz")
        return [
            Source(
                dataset_id=ids[number],
                relpath=str(Path(file.path).relative_to(self._roots[number][0])),
                path=file.path,
                length=file.length_at(self.sample_rate),
                read=partial(read_crop, file, sample_rate=self.sample_rate, channels=self.channels),
                metadata=self._roots[number][1],
            )
            for file, number in zip(self.files, map(int, self._root_of), strict=True)
            if file.path not in self.left_out
        ]


_SYNTHESIS = threading.Lock()  # a demo set keeps its latest tracks in a dictionary


def _read_track(dataset: DemoDataset, number: int, start: int, size: int) -> np.ndarray:
    with _SYNTHESIS:
        return dataset.track(number)[:, start : start + size]


def data_config(data: Path | None = None, dataset_config: Path | None = None) -> dict[str, Any]:
    """The dataset config of a folder, or a named one or a JSON file's; paths of data sets are made absolute.

    Raises:
        UserError: not exactly one is given, or the file is not a JSON object.
    """
    if (data is None) == (dataset_config is None):
        raise UserError("give either a folder (--data) or a dataset config (--dataset-config)")
    if data is not None:
        config: dict[str, Any] = {"dataset_type": "ear_audio", "datasets": [{"id": FOLDER_ID, "path": str(data)}]}
    else:
        config = load_config(str(dataset_config), DATASET)
    entries = config.get("datasets")
    if isinstance(entries, list):
        config = {**config, "datasets": [_absolute(entry) for entry in entries]}
    return config


def _absolute(entry: Any) -> Any:
    if isinstance(entry, dict) and isinstance(entry.get("path"), str) and entry["path"]:
        return {**entry, "path": str(expanded(entry["path"]).absolute())}
    return entry


def open_windows(config: Mapping[str, Any], sample_size: int, sample_rate: int, channels: int = 2) -> WindowSet:
    """All windows of the data that ``config`` describes.

    Of type ``ear_audio``, ``split`` and ``held_out_share`` count, and ``custom_metadata_module``; what only concerns
    random crops does not: windows cover the files, silence included. The host's ``audio_dir`` and our ``ear_demo``
    work too.

    Args:
        config: dataset config.
        sample_size: samples per window.
        sample_rate: Hz; other rates are resampled.
        channels: 1 or 2.

    Raises:
        UserError: another type, a wrong key or value, no usable audio, or two files of one name.
    """
    kind = config.get("dataset_type")
    if kind == "ear_demo":
        dataset = build_dataset(DemoDataset, config, sample_size, sample_rate, channels)
        length = dataset.track(0).shape[-1]
        sources = [
            Source("ear_demo", name, f"ear_demo://{name}", length, partial(_read_track, dataset, number))
            for number, name in ((n, f"{dataset.split}/{n}") for n in range(dataset.tracks))
        ]
        return WindowSet(_cut(sources, sample_size), sample_size, sample_rate, channels)
    if kind == "audio_dir":
        entries = config.get("datasets")
        entries = [_audio_dir(entry) for entry in entries] if isinstance(entries, list) else entries
        config = {"dataset_type": "ear_audio", "datasets": entries}
    elif kind in _INSTEAD:
        raise UserError(f"dataset_type {kind} cannot be cut into windows: {_INSTEAD[kind]}")
    elif kind != "ear_audio":
        raise choice_error("dataset_type", kind, ("ear_audio", "ear_demo", "audio_dir"))
    folders = build_dataset(_Folders, {**config, "silence_threshold_db": None}, sample_size, sample_rate, channels)
    ids = [str(entry.get("id", number)) for number, entry in enumerate(config["datasets"])]
    sources = folders.sources(ids)
    _require_unique(sources)
    return WindowSet(_cut(sources, sample_size), sample_size, sample_rate, channels, folders.left_out)


def _audio_dir(entry: Any) -> Any:
    """An entry of the host's config; the host ignores further keys."""
    if not isinstance(entry, Mapping):
        return entry
    return {key: entry[key] for key in ("id", "path", "custom_metadata_module") if entry.get(key) is not None}


def _cut(sources: Iterable[Source], sample_size: int) -> Iterable[Window]:
    return (Window(source, number) for source in sources for number in range(-(-source.length // sample_size)))


def _require_unique(sources: Iterable[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        other = seen.setdefault(source.key, source)
        if other is not source:
            raise UserError(
                f"two data sets with the id '{source.dataset_id}' hold {source.relpath}: {other.path} and "
                f"{source.path}; give each entry of datasets its own id"
            )
