"""Files shared among processes and ranks: the same audio, a row for each, and nothing done twice."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ear_sat.engines import runner
from ear_sat.inference import ModelFile, Result, Settings, batch, plan_jobs, reconstruct_files
from ear_sat.inference import model as opening
from ear_sat.inference.table import check_table, kept_results, write_table
from ear_sat.models import Autoencoder
from ear_sat.processes import workers
from ear_sat.weights import Source

Write = Callable[..., Path]


def open_saved(weights: Source, *_: object, **__: object) -> Autoencoder:
    return torch.load(weights.path, weights_only=False)


def open_and_die(model: ModelFile, job: batch.FileJob, settings: Settings, meter: None) -> batch.Result:
    """The file named bad kills its process, as the system does where memory ends."""
    if job.name == "bad.wav":
        os._exit(9)
    return batch._attempt(model, job, settings, meter)


class SavedModel(ModelFile):
    """One that was saved whole."""

    def open(self) -> Autoencoder:
        return open_saved(self.weights)


@pytest.fixture
def saved(tiny_model: Autoencoder, tmp_path: Path) -> SavedModel:
    torch.save(tiny_model, tmp_path / "model.pt")
    return SavedModel(Source(tmp_path / "model.pt"), "cpu", Settings())


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_two_processes(
    engine: str,
    saved: SavedModel,
    tiny_model: Autoencoder,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="needs Ray: pip install 'ear-sat[ray]'")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Ray's workers import this module.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    for name in ("a.wav", "b.wav", "sub/c.wav"):
        write(name, (5_000, 2))
    alone, shared = (plan_jobs([tmp_path / "in"], tmp_path / name) for name in ("alone", "shared"))
    reconstruct_files(tiny_model, alone, Settings())
    with runner(engine, 2, default=1) as run:
        results = reconstruct_files(saved, shared, Settings(), run=run)
    assert [result.outcome for result in results] == ["done"] * 3
    assert [job.output.read_bytes() for job in shared] == [job.output.read_bytes() for job in alone]


def test_a_table_of_what_was_there_before(tiny_model: Autoencoder, write: Write, tmp_path: Path) -> None:
    write("a.wav", (1_000, 2))
    jobs, table = plan_jobs([tmp_path / "in"], tmp_path / "out"), tmp_path / "table.csv"
    reconstruct_files(tiny_model, jobs, Settings())
    write_table(table, tmp_path / "out", jobs)
    assert [row["outcome"] for row in rows(table).values()] == ["skipped"]


@pytest.mark.slow
def test_a_file_that_kills_its_process(
    saved: SavedModel, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.wav", "bad.wav", "c.wav"):
        write(name, (5_000, 2))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(batch, "_attempt", open_and_die)
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    with workers(2) as run:
        results = reconstruct_files(saved, jobs, Settings(), run=run)
    assert [result.outcome for result in results] == ["done", "failed", "done"]
    assert "want of memory" in results[1].notes[0]


def test_rows_of_all_ranks(tiny_model: Autoencoder, write: Write, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write(name, (1_000, 2))
    (tmp_path / "in" / "d.wav").write_bytes(b"no audio")
    out, table = tmp_path / "out", tmp_path / "table.csv"
    jobs = plan_jobs([tmp_path / "in"], out)
    for rank in (0, 1):
        with kept_results(out, rank) as keep:
            reconstruct_files(tiny_model, jobs[rank::2], Settings(), keep=keep)
        write_table(table, out, jobs)
        if rank == 0:
            assert [row["outcome"] for row in rows(table).values()] == ["done", "missing", "done", "missing"]
    found = rows(table)
    assert [row["outcome"] for row in found.values()] == ["done", "done", "done", "failed"]
    assert float(found["a.wav"]["seconds"]) == pytest.approx(1_000 / 44100)
    with kept_results(out) as keep:  # what is there already is not done again, and its row stays
        reconstruct_files(tiny_model, jobs, Settings(), keep=keep)
    with kept_results(out, 2) as keep:  # nor does another try that failed take its place
        keep(Result(jobs[0], "failed", notes=["no memory"]))
    write_table(table, out, jobs)
    assert rows(table) == found


def test_rows_as_parquet(tiny_model: Autoencoder, write: Write, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'ear-sat[parquet]'")
    write("a.wav", (1_000, 2))
    jobs, table = plan_jobs([tmp_path / "in"], tmp_path / "out"), tmp_path / "table.parquet"
    check_table(table)
    with kept_results(tmp_path / "out") as keep:
        reconstruct_files(tiny_model, jobs, Settings(), keep=keep)
    write_table(table, tmp_path / "out", jobs)
    (row,) = parquet.read_table(table).to_pylist()
    assert row["outcome"] == "done" and row["seconds"] == pytest.approx(1_000 / 44100)


def test_the_turn_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPUs of a machine are dealt out over its ranks and their processes."""
    turns = []
    monkeypatch.setattr(opening, "worker_number", lambda: 1)
    monkeypatch.setattr(opening, "open_model", lambda *arguments: turns.append(arguments[-1]))
    opening._open.cache_clear()
    ModelFile(Source("a"), "cuda", Settings(), first_turn=4).open()
    opening._open.cache_clear()
    assert turns == [5]
