"""Crops from audio files in folders or manifests, where one bad file never stops a run."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ..checks import require_flag, require_number, require_whole
from ..config import check_choice
from ..errors import UserError
from ..value_types import ArgumentsOf, Count, Crops, OneOf, Range, Size
from .augment import Augmentation
from .base import CropDataset, Sample, is_silent
from .metadata import CustomMetadata
from .parts import UnusableFileError
from .reading import read_crop
from .shares import Shares
from .sources import open_entry, open_source
from .stream import AudioFile
from .table import FileTable

logger = logging.getLogger(__name__)

SPLITS = ("all", "train", "held_out")
_OTHER_FILES = 100  # tried at random in place of a file that gives nothing, before all are searched in order
_OTHER_FILES_IF_REJECTED = 2000  # not all: where one file in 100 is accepted, this misses it in 2 of 10⁹ items


class FolderDataset(CropDataset):
    """Crops from all audio files below some folders, or of some manifests; JSON ``dataset_type`` "ear_audio".

    Only the crop is decoded, not the file, and it equals the slice of the decoded file. Files that cannot be used are
    left out with a reason, at construction (from their headers or manifest rows) or when a crop is read;
    :attr:`left_out` maps their paths to the reasons. A worker process has its own copy of it, so each sample carries in
    ``info["left_out"]`` the "path: reason" lines that are new since this worker's last sample;
    :func:`collect_left_out` gathers them.

    A silent crop, one with NaN or infinite samples, or one that the metadata function rejects is drawn again from the
    same file, at most ``max_redraws`` times; after that another file takes its place, if possible of the same entry of
    ``datasets``, and a file that gave only non-finite crops is left out. Item ``i`` of epoch ``e`` is a function of
    (seed, e, i); only when files turn out bad in some parts and not in others does it matter what was read before.

    Args:
        datasets: entries {"id"?: name, "path"?: folder, "manifest"?: .csv or .parquet file, "decisions"?: values of the
            manifest's column ``decision`` that are used (["keep"]), "weight"?: share of the crops relative to the other
            entries', "custom_metadata_module"?: Python file with the host's ``get_custom_metadata(info, audio)``; a
            true "__reject__" in the dict it returns rejects the crop}. With both, relative paths of the manifest start
            from the folder. Without any weight every file has an equal share.
        sample_size, sample_rate, channels: given by the program; see :class:`CropDataset`. Other rates are resampled
            (soxr HQ), mono is copied to both channels, stereo averaged for one channel, surround downmixed per ITU-R
            BS.775 where the file says which channel is which.
        seed: another seed gives other crops.
        random_crop: false takes the crops at fixed places, evenly spaced from the beginning to the end of the file, a
            single one at the beginning.
        crops_per_file: crops taken from each file per epoch; with weights, on average over all files.
        silence_threshold_db: crops whose peak in dBFS is below this are silent; null accepts every crop.
        max_redraws: bound on the further draws from one file.
        split: ``"all"`` files, or one of two disjoint parts: ``"held_out"``, about the share ``held_out_share`` of the
            files (at least one), each chosen by the hash of its name alone, and ``"train"``, the others.
        held_out_share: see ``split``.
        gain_db, flip_polarity, swap_channels: random changes, off by default; see :class:`Augmentation`.

    Raises:
        UserError: a folder or manifest is missing or without a usable audio file, or every file is silent.
    """

    def __init__(
        self,
        datasets: Sequence[Annotated[Mapping[str, Any], ArgumentsOf(open_entry, without=("where", "leave_out"))]],
        sample_size: Size,
        sample_rate: Size,
        channels: Size = 2,
        *,
        seed: Count = 0,
        random_crop: bool = True,
        crops_per_file: Crops = 1,
        silence_threshold_db: float | None = -60.0,
        max_redraws: Count = 8,
        split: Annotated[str, OneOf(SPLITS)] = "all",
        held_out_share: Annotated[float, Range(above=0, below=1)] = 0.1,
        gain_db: Sequence[float] | None = None,
        flip_polarity: bool = False,
        swap_channels: bool = False,
    ) -> None:
        super().__init__(seed=seed, sample_size=sample_size, sample_rate=sample_rate, channels=channels)
        self.random_crop = require_flag("random_crop", random_crop)
        self.crops_per_file = require_whole("crops_per_file", crops_per_file, at_least=1)
        self.max_redraws = require_whole("max_redraws", max_redraws, at_least=0)
        self.silence_threshold_db = -np.inf
        if silence_threshold_db is not None:
            self.silence_threshold_db = float(require_number("silence_threshold_db", silence_threshold_db, unit="dBFS"))
        self.augmentation = Augmentation(gain_db, flip_polarity, swap_channels)
        if isinstance(datasets, str | Mapping) or not isinstance(datasets, Sequence) or not datasets:
            raise UserError('datasets must be a list of at least one {"id": …, "path": folder}')
        self.left_out: dict[str, str] = {}
        self._unreported: list[str] = []
        sources = [open_source(f"datasets[{n}]", entry, self._leave_out) for n, entry in enumerate(datasets)]
        self._roots: list[tuple[Path, CustomMetadata | None]] = [(source.root, source.metadata) for source in sources]
        self.files = FileTable(file for source in sources for file in source.files)
        self._root_of = np.repeat(np.arange(len(sources)), [len(source.files) for source in sources])
        if check_choice("split", split, SPLITS) != "all":
            self._keep_split(split, held_out_share)
        self._shares = Shares(self._root_of, [source.weight for source in sources], self.crops_per_file)
        self._require_sound()
        self._unreported.clear()  # the main process has these in left_out already
        if self.left_out:
            path, reason = next(iter(self.left_out.items()))
            logger.warning("left out %d audio files; the first: %s: %s", len(self.left_out), path, reason)
        logger.info("%d audio files, %.1f hours", len(self.files), self.files.seconds / 3600)

    def _keep_split(self, split: str, share: float) -> None:
        require_number("held_out_share", share, above=0, below=1)
        if len(self.files) < 2:
            raise UserError('one usable audio file cannot be split; set split to "all" or add music')
        names = [os.path.relpath(f.path, self._roots[r][0]) for f, r in zip(self.files, self._root_of, strict=True)]
        digests = [hashlib.sha256(name.encode(errors="surrogateescape")).digest() for name in names]
        # Each file by itself, not the least tenth: a file stays on its side when others come and go, as from stage to
        # stage of a training.
        held_out = np.array([int.from_bytes(digest, "big") < share * 2**256 for digest in digests])
        if not held_out.any():
            held_out[digests.index(min(digests))] = True
        elif held_out.all():
            held_out[digests.index(max(digests))] = False
        kept = np.flatnonzero(held_out if split == "held_out" else ~held_out)
        self.files, self._root_of = self.files.select(kept), self._root_of[kept]

    def _require_sound(self) -> None:
        """Reads crops until one is not silent: one crop of the first file, for any usual folder."""
        for file in self.files:
            finite = 0
            for start in self._grid(file):
                try:
                    audio = read_crop(file, start, self.sample_size, self.sample_rate, self.channels)
                except UnusableFileError as error:
                    self._leave_out(file.path, str(error))
                    break
                if np.isfinite(audio).all():
                    finite += 1
                    if not is_silent(audio, self.silence_threshold_db):
                        return
            if finite == 0:
                self._leave_out(file.path, "NaN or infinite samples in every crop")
        raise self._nothing_left()

    def items_per_pass(self) -> int:
        return len(self._shares)

    def __getitem__(self, index: int) -> Sample:
        began = time.perf_counter()
        index = self.checked_index(index)
        rejected: list[str] = []
        sample = self._first_sample(islice(self._order(index), 1 + _OTHER_FILES), index, False, rejected)
        if sample is None and rejected:
            others = islice(self._order(index), 1 + _OTHER_FILES, 1 + _OTHER_FILES_IF_REJECTED)
            sample = self._first_sample(others, index, False, rejected)
        elif sample is None:  # nearly all is silent: search everything before giving up
            sample = self._first_sample(self._order(index), index, True, rejected)
        if sample is None:
            if rejected:
                raise UserError(
                    f"get_custom_metadata rejects every crop: {len(rejected)} in a row, the last of {rejected[-1]}"
                )
            raise self._nothing_left()
        sample[1]["left_out"], self._unreported = self._unreported, []
        sample[1]["load_time"] = time.perf_counter() - began
        return sample

    def _order(self, index: int) -> Iterator[int]:
        """Item ``index``'s own file, then the others in a random order, those of the same share first."""
        own, _ = self._shares.file_and_turn(index, self.epoch)
        yield own
        rng, group = self.item_rng(index, 0), self._shares.group_of(index)
        yield from (int(n) for n in rng.permutation(self._shares.groups[group]) if n != own)
        for other, files in enumerate(self._shares.groups):
            if other != group:
                yield from (int(n) for n in rng.permutation(files))

    def _first_sample(self, numbers: Iterable[int], index: int, everywhere: bool, rejected: list[str]) -> Sample | None:
        """The first acceptable crop of the files ``numbers``, either of a few drawn ones or of all there are."""
        for number in numbers:
            file = self.files[number]
            if file.path in self.left_out:
                continue
            starts = self._grid(file) if everywhere else self._draws(file, number, index)
            sample = self._sample_of(number, starts, index, rejected)
            if sample is not None:
                return sample
        return None

    def _draws(self, file: AudioFile, number: int, index: int) -> Iterable[int]:
        last = max(0, file.length_at(self.sample_rate) - self.sample_size)
        if last == 0:
            return [0]
        if not self.random_crop:
            _, turn = self._shares.file_and_turn(index, self.epoch)
            return [round(turn % self.crops_per_file * last / max(1, self.crops_per_file - 1))]
        rng = self.item_rng(index, 1, number)
        return (int(rng.integers(0, last + 1)) for _ in range(1 + self.max_redraws))

    def _grid(self, file: AudioFile) -> Iterable[int]:
        """Starts of crops that cover the file."""
        last = max(0, file.length_at(self.sample_rate) - self.sample_size)
        return [*range(0, last, self.sample_size), last]

    def _sample_of(self, number: int, starts: Iterable[int], index: int, rejected: list[str]) -> Sample | None:
        """The first acceptable crop of file ``number`` among ``starts``; appends to ``rejected``."""
        file, (root, metadata) = self.files[number], self._roots[self._root_of[number]]
        tried, finite = 0, 0
        for start in starts:
            tried += 1
            try:
                audio = read_crop(file, start, self.sample_size, self.sample_rate, self.channels)
            except UnusableFileError as error:
                self._leave_out(file.path, str(error))
                return None
            if not np.isfinite(audio).all():
                continue
            finite += 1
            if is_silent(audio, self.silence_threshold_db):
                continue
            audio = self.augmentation(audio, self.item_rng(index, 2))
            relpath = str(Path(file.path).relative_to(root))
            total = file.length_at(self.sample_rate)
            sample = self.sample(audio, path=file.path, relpath=relpath, start=start, total=total)
            if metadata is not None:
                sample[1].update(metadata(sample[1], sample[0]))
                if sample[1].pop("__reject__", False):
                    rejected.append(file.path)
                    continue
            return sample
        if finite == 0:
            self._leave_out(file.path, f"NaN or infinite samples in {tried} of {tried} crops")
        return None

    def _leave_out(self, path: str, reason: str) -> None:
        if path not in self.left_out:
            self.left_out[path] = reason
            self._unreported.append(f"{path}: {reason}")

    def _nothing_left(self) -> UserError:
        if all(file.path in self.left_out for file in self.files):
            path = self.files[0].path
            return UserError(
                f"none of the {len(self.files)} audio files is usable any more; {path}: {self.left_out[path]}"
            )
        return UserError(
            f"every audio file is silent (no peak above {self.silence_threshold_db:g} dBFS); "
            "give other folders or lower silence_threshold_db"
        )


def collect_left_out(infos: Iterable[Mapping[str, Any]]) -> list[str]:
    """The "path: reason" lines of files that were left out, from the infos of a batch, each once.

    >>> collect_left_out([{"left_out": ["a.wav: truncated"]}, {}, {"left_out": [("a.wav: truncated",)]}])
    ['a.wav: truncated']
    """
    lines = (line for info in infos for line in info.get("left_out", ()))
    # The host's shards are batched twice, by which each text becomes a tuple of one.
    return list(dict.fromkeys(line if isinstance(line, str) else line[0] for line in lines))
