"""The metrics file grows, is trimmed, and forgets what a kill left half written."""

from __future__ import annotations

import errno
import math
import resource
import signal

import numpy as np
import pytest
import torch

from ear_sat.errors import UserError
from ear_sat.training.run.metrics_csv import MetricsCsv


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def test_columns_grow_and_values_are_exact(path, names):
    metrics = MetricsCsv(path)
    assert not path.exists()
    metrics.append({"step": 1, "loss": 1 / 3})
    metrics.append({"step": 2, "loss": torch.tensor(0.5)})
    metrics.append({"step": 2, "val/snr_db": np.float64(-7.25)})
    metrics.append({"loss": 3, "step": 3})
    assert path.read_text(encoding="utf-8") == f"step,loss,val/snr_db\n1,{1 / 3!r},\n2,0.5,\n2,,-7.25\n3,3.0,\n"
    assert MetricsCsv.read(path) == {"loss": [(1, 1 / 3), (2, 0.5), (3, 3.0)], "val/snr_db": [(2, -7.25)]}
    assert names(path.parent) == ["metrics.csv"]


def test_not_finite_values_and_odd_keys(path):
    metrics = MetricsCsv(path)
    metrics.append({"step": 1, 'a,"b"': math.nan, "c": -math.inf})
    series = MetricsCsv.read(path)
    assert math.isnan(series['a,"b"'][0][1]) and series["c"] == [(1, -math.inf)]


@pytest.mark.parametrize("row", [{"loss": 1.0}, {"step": 1, "a\nb": 1.0}, {"step": 1, "": 1.0}])
def test_rows_that_cannot_be_written(path, row):
    with pytest.raises(ValueError, match="metrics"):
        MetricsCsv(path).append(row)
    assert not path.exists()


def test_appending_does_not_rewrite(path):
    metrics = MetricsCsv(path)
    metrics.append({"step": 1, "loss": 1.0})
    inode = path.stat().st_ino
    metrics.append({"step": 2, "loss": 1.0})
    MetricsCsv(path).append({"step": 3, "loss": 1.0})
    assert path.stat().st_ino == inode


def test_trim(path):
    metrics = MetricsCsv(path)
    for step in (10, 20, 20, 30):
        metrics.append({"step": step, "loss": 1.0})
    metrics.append({"step": 40, "late": 1.0})
    assert metrics.trim_after(20) == 2
    assert MetricsCsv.read(path) == {"loss": [(10, 1.0), (20, 1.0), (20, 1.0)], "late": []}
    assert metrics.trim_after(20) == 0
    MetricsCsv(path).append({"step": 21, "late": 2.0})
    assert MetricsCsv.read(path)["late"] == [(21, 2.0)]


@pytest.mark.parametrize("cut", range(1, 12))
def test_killed_while_appending(path, cut):
    metrics = MetricsCsv(path)
    for step in (1, 2, 3):
        metrics.append({"step": step, "loss": 0.123456})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])  # the last line is "3,0.123456\n": 11 bytes
    assert MetricsCsv.read(path)["loss"] == [(1, 0.123456), (2, 0.123456)]
    MetricsCsv(path).append({"step": 3, "loss": 0.123456})
    assert path.read_bytes() == whole


@pytest.mark.parametrize("data", [b"", b"st", b"step,lo", b"\0\0\0\0"])
def test_killed_while_writing_the_header(path, data):
    path.write_bytes(data)
    assert MetricsCsv.read(path) == {}
    MetricsCsv(path).append({"step": 1, "loss": 2.0})
    assert MetricsCsv.read(path) == {"loss": [(1, 2.0)]}


def test_lines_that_are_no_rows_are_dropped(path):
    path.write_bytes(b"step,loss\n1,2.0\n2\n\0\0\0\n3,x\n\n4,5.0\n")
    MetricsCsv(path)
    assert path.read_text(encoding="utf-8") == "step,loss\n1,2.0\n4,5.0\n"


def test_other_files_are_not_touched(path):
    path.write_text("name,age\nx,3\n")
    with pytest.raises(UserError, match="is not a metrics file"):
        MetricsCsv(path)
    assert path.read_text(encoding="utf-8") == "name,age\nx,3\n"
    with pytest.raises(UserError, match="no such file"):
        MetricsCsv.read(path.with_name("none.csv"))


def test_full_disk_while_growing(path, monkeypatch, names):
    metrics = MetricsCsv(path)
    metrics.append({"step": 1, "loss": 1.0})

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        with pytest.raises(UserError, match=r"metrics\.csv: No space left on device"):
            metrics.append({"step": 2, "new": 1.0})
    assert path.read_text(encoding="utf-8") == "step,loss\n1,1.0\n" and names(path.parent) == ["metrics.csv"]
    metrics.append({"step": 2, "loss": 2.0})  # the refused column must not have stayed
    metrics.append({"step": 2, "new": 1.0})
    assert MetricsCsv.read(path) == {"loss": [(1, 1.0), (2, 2.0)], "new": [(2, 1.0)]}


def test_full_disk_while_appending(path):
    """A real failing write: a limit on file sizes, reached in the middle of a line."""
    metrics = MetricsCsv(path)
    metrics.append({"step": 1, "loss": 1.0})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 3, limits[1]))
        with pytest.raises(UserError, match="File too large"):
            metrics.append({"step": 2, "loss": 0.123456})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
