"""Worker processes hand over batches in shared memory: as many as fit, and a sentence where it ends."""

import logging
import os
import re
import resource
import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ear_sat.data import create_dataloader
from ear_sat.data.loader import collate
from ear_sat.data.shared_memory import (
    IN_HAND,
    PREFETCH,
    InSharedMemory,
    audio_batch_bytes,
    fitting_workers,
    free_bytes,
    worker_death,
)
from ear_sat.errors import UserError

DEMO = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 1.0, "crops_per_track": 4}
BATCH = 2 * 3 * 2048 * 4  # two clips, each of two channels and a padding mask


@pytest.mark.parametrize("free", [0, 1, 10**6, 64 * 10**6, 10**12])
@pytest.mark.parametrize("batch_bytes", [0, 1, 10**6, 13 * 10**6, 10**10])
def test_what_fits_has_room_and_one_more_would_not(free: int, batch_bytes: int) -> None:
    def need(workers: int) -> int:
        return (PREFETCH * workers + IN_HAND) * max(1, batch_bytes)

    found = fitting_workers(8, batch_bytes, free)
    assert 0 <= found <= 8
    assert found == 0 or need(found) <= free
    assert found == 8 or need(found + 1) > free


def test_where_nothing_is_shared_through_files_there_is_no_limit(tmp_path: Path) -> None:
    assert fitting_workers(8, 10**12, None) == 8
    assert fitting_workers(0, 10**12, 0) == 0
    if (free := free_bytes()) is not None:
        assert free > 0 and free_bytes(tmp_path / "missing") == 0


@pytest.mark.parametrize(
    ("batches", "workers", "words"),
    [
        (8, 3, "3 of 4 worker processes read"),
        (3, 0, "this process reads, without workers"),
        (0, 0, "this process reads, without workers"),
        (10, 4, None),
    ],
)
def test_a_loader_takes_the_workers_that_fit(
    batches: int, workers: int, words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = create_dataloader(DEMO, 2, 2048, 8000, num_workers=4, shared_bytes=batches * BATCH)
    assert audio_batch_bytes(2, 2, 2048) == BATCH
    assert made.num_workers == workers and made.persistent_workers == (workers > 0)
    if words is None:
        assert not caplog.messages
    else:
        (line,) = caplog.messages
        assert words in line and "--shm-size" in line and "--num-workers" in line and "\n" not in line


class Ends(Dataset):
    """Ends the process that reads it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        os.kill(os.getpid(), self.number)
        return torch.zeros(1)


@pytest.mark.parametrize(("name", "words"), [("SIGBUS", "Bus error"), ("SIGKILL", "Killed")])
def test_the_death_of_a_worker_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(RuntimeError) as error:
        list(DataLoader(Ends(getattr(signal, name)), num_workers=1))
    sentence = str(worker_death(error.value))
    assert re.match(rf"a process that reads data was ended by a signal \({words}\), most likely for want of", sentence)
    assert "--shm-size" in sentence and "--num-workers" in sentence and "\n" not in sentence
    assert worker_death(RuntimeError("another")) is None


def _few_files(_: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))


def test_what_cannot_be_shared_is_told_and_not_waited_for() -> None:
    """torch shares in a thread of its own: there the error ended nothing, and the batch was waited for without end."""
    items = [(torch.zeros(2, 8), {"padding_mask": torch.zeros(8)})] * 64
    made = DataLoader(items, 32, num_workers=1, collate_fn=InSharedMemory(collate), worker_init_fn=_few_files)
    with pytest.raises(
        UserError, match=r"a batch finds no room in shared memory .*: raise ulimit -n, or lower --batch"
    ):
        list(made)


def test_a_batch_is_moved_and_not_changed() -> None:
    items = [(torch.full((2, 8), float(n)), {"padding_mask": torch.ones(8), "path": str(n)}) for n in range(4)]
    read = [list(DataLoader(items, 2, num_workers=n, collate_fn=InSharedMemory(collate))) for n in (0, 1)]
    for (audio, infos), (other, others) in zip(*read, strict=True):
        assert torch.equal(audio, other) and [i["path"] for i in infos] == [i["path"] for i in others]
        assert not audio.is_shared() and other.is_shared()
