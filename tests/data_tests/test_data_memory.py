"""A long list of files costs little, also in many workers."""

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from ear_sat.data import AudioFile
from ear_sat.data.table import FileTable

COUNT = 100_000
MIB = 1 << 20


def files(count=COUNT):
    return (
        AudioFile(f"/data/music/artist {n // 97}/track {n:06d} ü.flac", 10_000_000 + n, 44100, 2) for n in range(count)
    )


def test_the_table_is_the_list():
    listed = list(files(50))
    odd = AudioFile(os.fsdecode(b"/data/\xff.wav"), 2**40, 192000, 6)  # no valid UTF-8, longer than 2^31
    table = FileTable([*listed, odd])
    assert list(table) == [*listed, odd] and len(table) == 51 and table[-1] == odd
    assert table[3] == listed[3] and list(table[2:9:3]) == listed[2:9:3]
    assert list(table.select(np.array([7, 0]))) == [listed[7], listed[0]]
    assert table[:50].seconds == pytest.approx(sum(file.frames / 44100 for file in listed))
    assert len(FileTable()) == 0 and FileTable().seconds == 0
    for wrong in (51, -52):
        with pytest.raises(IndexError):
            table[wrong]


def test_what_a_spawned_worker_gets_is_small():
    table = FileTable(files())
    size = len(pickle.dumps(table))
    paths = sum(len(os.fsencode(file.path)) for file in files())
    assert size < paths + 21 * COUNT + 10_000, "8 bytes of length and of place, 5 of rate and channels for each"
    assert list(pickle.loads(pickle.dumps(table[:3]))) == list(files(3))
    print(f"{COUNT} files pickled: {size / MIB:.1f} MiB")


def private_mib() -> float:
    """Memory that this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


def read_all(sequence, answer):
    before = private_mib()
    total = sum(file.frames for file in sequence)
    answer.put((total, private_mib() - before))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux to tell private memory")
def test_a_forked_worker_shares_the_table():
    context = multiprocessing.get_context("fork")
    table = FileTable(files())
    answer = context.Queue()
    worker = context.Process(target=read_all, args=(table, answer))
    worker.start()
    total, mib = answer.get(timeout=60)
    worker.join()
    assert total == sum(range(COUNT)) + COUNT * 10_000_000
    assert mib < 3, "a list of objects takes 15 MiB in each worker"
    print(f"a forked worker that read {COUNT} files took {mib:.1f} MiB of its own")
