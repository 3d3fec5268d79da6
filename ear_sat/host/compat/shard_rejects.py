"""The host's shards pass over what they cannot use for ever, by a line that does not say why.

Ours name each such sample once, in the log and in ``info["left_out"]`` of the next sample that can be used, and of too
many in a row the last one's reason ends the run.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from ...data.stream import reason_of
from ...errors import UserError, in_words
from .wrapping import wrap

logger = logging.getLogger(__name__)

MAX_IN_A_ROW = 1000
"""About as many as the host's own folders try, until Python's recursion limit."""


class Rejects:
    """What this process could not use since the last sample that it could.

    Attributes:
        current: the sample that has been read last.
    """

    def __init__(self) -> None:
        self.current = ""
        self.in_a_row = 0
        self._known: set[str] = set()
        self._new: list[str] = []

    def bad(self, name: str, reason: str) -> None:
        """A sample or a shard is damaged or incomplete."""
        line = f"{name}: {reason}"
        if line not in self._known:
            self._known.add(line)
            self._new.append(line)
            logger.warning("left out: %s", line)
        self.unwanted(name, reason)

    def unwanted(self, name: str, reason: str) -> None:
        """A sound sample is not used, this time.

        Raises:
            UserError: as were too many before it.
        """
        self.in_a_row += 1
        if self.in_a_row >= MAX_IN_A_ROW:
            raise UserError(
                f"no sample of the shards could be used {MAX_IN_A_ROW} times in a row; the last was {name}: {reason}"
            )

    def good(self) -> list[str]:
        """A sample is used; returns what was bad since the last one."""
        self.in_a_row = 0
        new, self._new = self._new, []
        return new


REJECTS = Rejects()  # of this process: every worker has its own


def words(error: BaseException) -> str:
    """Why something failed, in one line."""
    if isinstance(error, KeyError):
        return in_words(error)
    if len(error.args) > 1 and isinstance(error.args[0], str):  # WebDataset appends stream and URL to what there was
        return error.args[0].partition(" @ <")[0]
    return (reason_of(error) if isinstance(error, Exception) else repr(error)).splitlines()[0]


def name_of(sample: dict[str, Any]) -> str:
    """As prepare-data names members of shards."""
    return f"{sample['__url__']}::{sample['__key__']}"


def leave_out(error: Exception) -> bool:
    """In place of the host's handler of errors, of which decoding is the only one left that calls it."""
    if isinstance(error, UserError):
        raise error
    REJECTS.bad(REJECTS.current, words(error.__cause__ or error))  # WebDataset 1.x wraps what the decoder raises
    return True


def apply() -> None:
    """Replaces the host's handler and its test, and wraps what it makes of a sample."""
    from stable_audio_tools.data import dataset

    dataset.log_and_continue = leave_out
    wrap(dataset, "is_valid_sample", _is_valid_sample)
    wrap(dataset.WebDatasetDataLoader, "wds_preprocess", partial(_wds_preprocess, dataset.AUDIO_KEYS))


def _is_valid_sample(original: Any) -> Any:
    def is_valid_sample(sample: dict[str, Any]) -> bool:
        info = sample["json"]
        if original(sample):
            info["left_out"] = REJECTS.good()
            return True
        rejected = "rejected by its metadata or get_custom_metadata" if info.get("__reject__") else "silent"
        REJECTS.unwanted(name_of(sample), f"it is {rejected}")
        return False

    return is_valid_sample


def _wds_preprocess(suffixes: tuple[str, ...], original: Any) -> Any:
    def wds_preprocess(self: Any, sample: dict[str, Any]) -> Any:
        try:
            made = original(self, sample)
        except Exception as error:  # of the user's metadata function too
            REJECTS.bad(name_of(sample), words(error))
            return None
        if made is None:
            REJECTS.bad(name_of(sample), f"it has no audio of a type that the host reads: {', '.join(suffixes)}")
        return made

    return wds_preprocess
