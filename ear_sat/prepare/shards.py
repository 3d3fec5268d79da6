"""WebDataset shards of the tracks that are fit for training: FLAC and JSON, for the host's data set type ``wds``."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from ..checks import require_whole
from ..data.layouts import Layout, mix_channels
from ..data.parts import UnusableFileError
from ..data.stream import reason_of
from ..errors import UserError
from ..files import atomic_path
from .decoding import Track, quiet_decoders
from .measurement import Row, sidecar_digest
from .rules import KEEP, STAGE1
from .tracks import read_sidecar

FORMAT = 2  # of the shards; another one has other names
INFO = (
    "path",
    "sha256",
    "duration",
    "loudness_lufs",
    "loudness_range_lu",
    "true_peak_dbtp",
    "bandwidth_hz",
    "decision",
)
"""Columns of the manifest that go into a track's JSON."""
MIN_RATE = 8000  # that makes sense, in Hz
MAX_RATE, MAX_ODD_RATE = 655350, 65535  # that a FLAC frame can state, in tens of Hz and in Hz
_CHANGED = "it has changed since it was measured"
_NAME = re.compile(r"\d{6}-[0-9a-f]{12}\.tar")
_EXACT_BITS = {"PCM_S8": 16, "PCM_U8": 16, "PCM_16": 16}  # all others are written with 24 bits


class EncodingError(UnusableFileError):
    """The track is what it was, but cannot be written."""


def flac_rate(sample_rate: int) -> int:
    """The highest rate in Hz that FLAC takes of ``sample_rate``, a half of it, a third, and so on.

    >>> flac_rate(96000), flac_rate(705600), flac_rate(768000)
    (96000, 352800, 384000)
    """
    rates = (sample_rate // part for part in count(1))
    return next(rate for rate in rates if rate <= MAX_ODD_RATE or (rate <= MAX_RATE and rate % 10 == 0))


@dataclass(frozen=True)
class ShardSettings:
    """How shards are written.

    Args:
        sample_rate: in Hz; None keeps each track's own, or :func:`flac_rate` of it.
        megabytes: the most that a shard holds, but for up to a track more, counted before FLAC compresses (to about
            60 %).

    Raises:
        UserError: a shard below 1 MB, or a sample rate below 8000 Hz or one that FLAC does not take.
    """

    sample_rate: int | None = 44100
    megabytes: int = 1000

    def __post_init__(self) -> None:
        require_whole("--shard-size", self.megabytes, at_least=1, unit="MB")
        rate = self.sample_rate
        if rate is not None and (rate < MIN_RATE or flac_rate(rate) != rate):
            raise UserError(
                f"choose another sample rate for shards: FLAC takes {MIN_RATE} to {MAX_RATE} Hz, above {MAX_ODD_RATE} "
                f"only multiples of 10, not {rate}"
            )


@dataclass(frozen=True)
class Shard:
    """A shard to write: its file, and the rows of its tracks."""

    path: Path
    rows: tuple[Row, ...]


def plan_shards(rows: Callable[[], Iterable[Row]], folder: Path, settings: ShardSettings) -> Iterator[Shard]:
    """Deals tracks out to shards in ``folder/keep`` and ``folder/stage1``, in each to shards of nearly equal size.

    A shard's name has a digest of what it holds and how, so one that exists under its name is complete.

    The host's ``wds`` draws from the shards of all its folders alike and takes each track of the shard once. So all
    tracks come equally often, whatever the sizes, as long as a worker's share of an epoch is many shards. Where it is
    not, tracks of small shards come more often, for a worker begins each epoch with a new shard and drops the rest of
    the last one: hence the equal sizes. Of two folders, the one with smaller shards is favoured in the same way.

    Args:
        rows: gives those of the manifest, with decisions, in the order in which the shards are to hold them; called
            anew for each pass, so that they need not be in memory. Others than "keep" and "stage1" are passed over.
        folder: where to.
        settings: sample rate and size.
    """
    for decision in (KEEP, STAGE1):
        total = sum(_size(row, settings) for row in rows() if row["decision"] == decision)
        parts = math.ceil(total / (settings.megabytes * 1e6))
        fit = (row for row in rows() if row["decision"] == decision)
        shards = groupby(_places(fit, total, parts, settings), key=itemgetter(0))
        for number, (_, placed) in enumerate(shards):
            group = tuple(row for _, row in placed)
            contents = [[row[name] for name in (*INFO, "sidecar")] for row in group]
            recipe = json.dumps([FORMAT, settings.sample_rate, contents])
            digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
            yield Shard(folder / decision / f"{number:06d}-{digest}.tar", group)


def _places(rows: Iterable[Row], total: float, parts: int, settings: ShardSettings) -> Iterator[tuple[int, Row]]:
    """Each row, and in which of so many equal parts of ``total`` bytes its middle lies."""
    done = 0.0
    for row in rows:
        size = _size(row, settings)
        yield int((done + size / 2) / total * parts), row
        done += size


def _size(row: Row, settings: ShardSettings) -> float:
    """Bytes before FLAC compresses."""
    rate = settings.sample_rate or flac_rate(row["sample_rate"])
    return 2 * row["duration"] * rate * _bits(row["encoding"], rate != row["sample_rate"]) / 8


@dataclass(frozen=True)
class Failure:
    """Why a shard could not be written.

    Attributes:
        path: of the track whose fault it is, else of the shard.
        reason: what is wrong with it.
        changed: whether the track is no longer what was measured.
    """

    path: str
    reason: str
    changed: bool


class _IncompleteError(Exception):
    """Tracks are missing in a shard."""


def write_shard(shard: Shard, sample_rate: int | None) -> list[Failure]:
    """Writes a shard, complete or not at all; returns what is wrong with its tracks, nothing if it was written.

    Tracks are ``000000.flac``, ``000000.json`` and so on: two channels, 16 bits where the source has no more, else 24.
    Without resampling samples are the source's, bit for bit; those that 24 bits cannot hold (mp3, ogg, floating point)
    are rounded, and clipped at full scale. The JSON has :data:`INFO`, ``sample_rate``, and what the source's own JSON
    had, if it came from a shard; nulls are left out. Shards of the same tracks are the same, byte for byte.
    """
    shard.path.parent.mkdir(parents=True, exist_ok=True)
    failures: list[Failure] = []
    with suppress(_IncompleteError), atomic_path(shard.path) as temporary, tarfile.open(temporary, "w") as tar:
        for number, row in enumerate(shard.rows):
            try:
                _add_track(tar, f"{number:06d}", row, sample_rate)
            except UnusableFileError as error:
                changed = not isinstance(error, EncodingError)
                failures.append(Failure(row["path"], str(error), changed))
        if failures:  # known of all tracks, so that one more run is enough
            raise _IncompleteError
    return failures


def _add_track(tar: tarfile.TarFile, name: str, row: Row, sample_rate: int | None) -> None:
    audio, rate = encode_track(row["path"], sample_rate, row["sha256"])
    sidecar = read_sidecar(row["path"])
    if sidecar_digest(sidecar) != row["sidecar"]:
        raise UnusableFileError(_CHANGED)
    info = sidecar | {name: row[name] for name in INFO} | {"sample_rate": rate}
    _add(tar, f"{name}.flac", audio)
    _add(tar, f"{name}.json", json.dumps(_without_none(info)).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # of the same time and owner for everyone
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
    tar.members = []  # type: ignore[attr-defined]  # it would keep every entry


def _without_none(value: Any) -> Any:
    """JSON without nulls, which the host's loader cannot put into a batch.

    >>> _without_none({"text": "drums", "key": None, "tags": ["a", None]})
    {'text': 'drums', 'tags': ['a']}
    """
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value if item is not None] if isinstance(value, list) else value


def encode_track(path: str, sample_rate: int | None, checksum: str | None = None) -> tuple[bytes, int]:
    """The track as stereo FLAC, and its sample rate in Hz.

    Args:
        path: see :mod:`.tracks`.
        sample_rate: resamples (soxr HQ) to this many Hz; None keeps the track's own, or :func:`flac_rate` of it.
        checksum: SHA-256 that the source must have; None for any.

    Raises:
        UnusableFileError: another checksum; see :class:`.decoding.Track`.
        EncodingError: libsndfile or soxr cannot make it.
    """
    encoded = io.BytesIO()
    with quiet_decoders(), Track(path) as track:
        header = track.header
        if checksum not in (None, header.sha256):
            raise UnusableFileError(_CHANGED)
        rate = sample_rate or flac_rate(header.sample_rate)
        bits = _bits(header.encoding, rate != header.sample_rate)
        try:
            with soundfile.SoundFile(encoded, "w", rate, 2, f"PCM_{bits}", format="FLAC") as file:
                for block in _resampled(track.blocks(), track.layout, header.sample_rate, rate):
                    file.write(_quantised(block, bits))
        except (RuntimeError, MemoryError) as error:
            why = reason_of(error)
            raise EncodingError(
                f"it cannot be written as FLAC of {rate} Hz ({why}); use another --shard-rate, or leave it out"
            ) from error
    return encoded.getvalue(), rate


def _bits(encoding: str, resampled: bool) -> int:
    return 24 if resampled else _EXACT_BITS.get(encoding, 24)


def _resampled(blocks: Iterator[np.ndarray], layout: Layout, source_rate: int, rate: int) -> Iterator[np.ndarray]:
    """Stereo blocks (frames, 2) at ``rate``."""
    stereo = (np.ascontiguousarray(mix_channels(block.T, 2, layout).T) for block in blocks)
    if rate == source_rate:
        yield from stereo
        return
    stream = soxr.ResampleStream(source_rate, rate, 2, dtype="float32")
    for block in stereo:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros((0, 2), np.float32), last=True)


def _quantised(block: np.ndarray, bits: int) -> np.ndarray:
    """Float samples as the upper ``bits`` of 32; exact for what has no more. libsndfile itself scales by 2^n − 1."""
    scale = 2.0 ** (bits - 1)
    return np.clip(np.rint(block * scale), -scale, scale - 1).astype(np.int32) << (32 - bits)


def outdated_shards(folder: Path, planned: set[Path]) -> list[Path]:
    """The shards of earlier runs in ``folder`` that are no longer planned: ``wds`` would train from them as well."""
    found = (file for name in (KEEP, STAGE1) for file in (folder / name).glob("*.tar"))
    return sorted(file for file in found if _NAME.fullmatch(file.name) and file not in planned)
