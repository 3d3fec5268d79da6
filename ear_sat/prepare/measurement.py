"""Everything that is measured of a track, in one pass over its samples."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from ..data.layouts import Layout, loudness_weights
from ..data.parts import UnusableFileError
from ..data.reading import require_mixable
from ..metrics import LoudnessMeter, TruePeakMeter
from .bandwidth import BandwidthMeter
from .decoding import Track, quiet_decoders
from .levels import LevelMeter
from .stereo import StereoMeter
from .tracks import read_sidecar

#: Modules of ear_sat.data that take part in decoding.
_READING = ("containers", "flac", "handle", "layouts", "mp3", "ogg", "parts", "stream", "wav")
DECIMALS = 6  # further ones differ between processors

Row = dict[str, Any]
"""A track's row of the manifest by column, without the decision; see :data:`.manifest.COLUMNS`. What is undefined is
None; ``error`` is None for a good track. ``sidecar``, which is no column, is the :func:`sidecar_digest`."""


def measure_track(path: str) -> Row:
    """Measures the track at ``path`` (see :mod:`.tracks`). Whatever is wrong with it is the row's ``error``."""
    row: Row = {"path": path, "error": None}
    try:
        with quiet_decoders(), _one_thread(), Track(path) as track:
            row |= asdict(track.header) | {"frames": None}
            row["sidecar"] = sidecar_digest(read_sidecar(path))
            require_mixable(track.header.channels, track.layout)  # what the data sets take
            row |= _measure(track.blocks(), track.header.sample_rate, track.layout)
    except UnusableFileError as error:
        row["error"] = str(error)
    except Exception as error:  # one odd file of a million must not stop the others; its row says what happened
        row["error"] = f"{type(error).__name__}: {error}"
    return row


def sidecar_digest(sidecar: dict[str, Any]) -> str:
    """SHA-256 of what :func:`.tracks.read_sidecar` gives; empty for an empty one."""
    return hashlib.sha256(json.dumps(sidecar).encode()).hexdigest() if sidecar else ""


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same to the last bit wherever a track is measured, and a track per core is faster anyway."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _measure(blocks: Iterator[np.ndarray], sample_rate: int, layout: Layout) -> Row:
    channels, weights = len(layout), loudness_weights(layout)
    heard = [channel for channel, weight in enumerate(weights) if weight]
    loudness = LoudnessMeter(sample_rate, len(heard), [weights[channel] for channel in heard])
    true_peak, bandwidth = TruePeakMeter(sample_rate), BandwidthMeter(sample_rate, channels)
    levels, stereo = LevelMeter(sample_rate, channels), StereoMeter()
    for block in blocks:
        samples: Tensor = torch.from_numpy(np.ascontiguousarray(block.T))
        loudness.feed(samples[heard] if len(heard) < channels else samples)
        true_peak.feed(samples)
        levels.feed(samples)
        bandwidth.feed(samples)
        if channels == 2:
            stereo.feed(samples)
    if not levels.finite:
        raise UnusableFileError("it has NaN or infinite samples")
    values = {
        "loudness_lufs": loudness.integrated_lufs,
        "loudness_range_lu": loudness.range_lu,
        "true_peak_dbtp": true_peak.dbtp,
        "sample_peak_dbfs": levels.sample_peak_dbfs,
        "silence_share": levels.silence_share,
        "dc": levels.dc,
        "mid_side_ratio_db": stereo.mid_side_ratio_db,
        "bandwidth_hz": bandwidth.bandwidth_hz,
    }
    return {
        "frames": levels.samples,
        "duration": levels.samples / sample_rate,
        "clipped_runs": levels.clipped_runs,
        "dual_mono": stereo.dual_mono,
        **{name: round(value, DECIMALS) if math.isfinite(value) else None for name, value in values.items()},
    }


@lru_cache(maxsize=1)
def measuring_code() -> str:
    """A digest of the code that measures and of the versions of what decodes: results of another one are not kept."""
    package = Path(__file__).parents[1]
    files = [
        Path(__file__).with_name(f"{name}.py") for name in ("measurement", "decoding", "levels", "stereo", "bandwidth")
    ]
    files += [
        package / "weighting.py",
        *(package / "data" / f"{name}.py" for name in _READING),
        *(package / "metrics" / f"{name}_meter.py" for name in ("loudness", "true_peak")),
    ]
    digest = hashlib.sha256(f"{soundfile.__version__} {soundfile.__libsndfile_version__}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
