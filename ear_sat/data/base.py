"""What the data sets share: items that are a function of (seed, epoch, index), and the host's sample layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..checks import require_whole
from ..errors import UserError

Sample = tuple[torch.Tensor, dict[str, Any]]
"""Audio (channels, samples) float32 in [−1, 1], and the info dictionary of the host's data sets."""


class CropDataset(Dataset[Sample]):
    """A set of sources (tracks, files), each of which yields several crops per epoch.

    Item ``i`` takes its crop from source ``i % sources``. Every random choice comes from :meth:`item_rng`, so item
    ``i`` of epoch ``e`` is a function of (seed, e, i) whatever was read before and in whichever process. The epoch lies
    in shared memory: :meth:`set_epoch` reaches worker processes that are already running.

    Args:
        seed: any whole number ≥ 0.
        sample_size: crop length in samples at ``sample_rate``.
        sample_rate: in Hz.
        channels: 1 or 2.

    Attributes:
        pad: whether short sources are filled up to ``sample_size`` with zeros; true.
    """

    def __init__(self, *, seed: int, sample_size: int, sample_rate: int, channels: int) -> None:
        self.seed = require_whole("seed", seed, at_least=0)
        self.sample_size = require_whole("sample_size", sample_size, at_least=1)
        self.sample_rate = require_whole("sample_rate", sample_rate, at_least=1)
        if channels not in (1, 2):
            raise UserError(f"audio_channels must be 1 or 2, not {channels!r}")
        self.channels = channels
        self.pad = True
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._repeats = 1

    @property
    def epoch(self) -> int:
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """From now on items are those of ``epoch`` (≥ 0), in this process and in running workers."""
        self._epoch.fill_(require_whole("epoch", epoch, at_least=0))

    def items_per_pass(self) -> int:
        """Sources × crops per source."""
        raise NotImplementedError

    def repeat(self, times: int) -> None:
        """Makes the set ``times`` as long; the first items stay what they were, the further ones are other crops."""
        self._repeats *= require_whole("times", times, at_least=1)

    def __len__(self) -> int:
        return self.items_per_pass() * self._repeats

    def checked_index(self, index: int) -> int:
        """``index`` counted from the start; IndexError outside −len … len − 1."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of a data set of {len(self)}")
        return index % len(self)

    def item_rng(self, index: int, *stream: int) -> np.random.Generator:
        """The generator of item ``index`` of this epoch; ``stream`` numbers independent ones."""
        return np.random.default_rng([self.seed, self.epoch, index, *stream])

    def sample(self, audio: np.ndarray, *, path: str, relpath: str, start: int, total: int) -> Sample:
        """Clamps ``audio`` (C, n ≤ sample_size) to [−1, 1], zero-pads it (:attr:`pad`) and adds the host's info keys.

        ``start`` and ``total`` are the crop's position and the source's length, in samples at ``self.sample_rate``.
        """
        length = audio.shape[-1]
        size = self.sample_size if self.pad else length
        crop, padding_mask = torch.zeros(self.channels, size), torch.zeros(size)
        crop[:, :length] = torch.from_numpy(np.ascontiguousarray(audio, np.float32)).clamp(-1, 1)
        padding_mask[:length] = 1
        span = max(total, self.sample_size)
        info = {
            "path": path,
            "relpath": relpath,
            "timestamps": (start / span, (start + self.sample_size) / span),
            "seconds_start": math.floor(start / self.sample_rate),
            "seconds_total": math.ceil(total / self.sample_rate),
            "padding_mask": padding_mask,
            "sample_rate": self.sample_rate,
            "load_time": 0.0,
            "left_out": [],
        }
        return crop, info


def is_silent(audio: np.ndarray, threshold_db: float) -> bool:
    """Whether the peak lies below ``threshold_db`` dBFS; nothing at all is silent.

    >>> is_silent(np.full((2, 8), 0.5), -60.0)
    False
    """
    return audio.size == 0 or float(np.abs(audio).max()) < 10 ** (threshold_db / 20)
