"""The host's folder data sets call themselves for another item in place of one that they cannot use: where there is no
other, Python's recursion limit ends that, or, where all is silent, nothing does in any time.

Ours make the same choices in a loop, and end it with the last one's reason.
"""

from __future__ import annotations

from typing import Any

from ...errors import UserError
from .shard_rejects import MAX_IN_A_ROW, words
from .wrapping import wrap

_RUNNING = "_ear_sat_running"


class _Another(BaseException):
    """Leaves ``__getitem__`` for that of another item, past its ``except Exception``."""

    def __init__(self, index: int) -> None:
        self.index = index


def apply() -> None:
    """Wraps ``__getitem__`` of both data sets."""
    from stable_audio_tools.data.dataset import PreEncodedDataset, SampleDataset

    for kind in (SampleDataset, PreEncodedDataset):
        wrap(kind, "__getitem__", _loop)


def _loop(original: Any) -> Any:
    def getitem(self: Any, index: int) -> Any:
        if getattr(self, _RUNNING, False):
            raise _Another(index)
        setattr(self, _RUNNING, True)
        try:
            for _ in range(MAX_IN_A_ROW):
                try:
                    return original(self, index)
                except _Another as another:
                    last, index = self.filenames[index], another.index
                    error = another.__context__  # what the host has caught and printed
                    reason = words(error) if error else "it is silent, too short or long, or rejected"
        finally:
            setattr(self, _RUNNING, False)
        path = last[0] if isinstance(last, tuple) else last  # with its metadata's
        raise UserError(
            f"no item of the data set could be used {MAX_IN_A_ROW} times in a row; the last was {path}: {reason}"
        )

    return getitem
