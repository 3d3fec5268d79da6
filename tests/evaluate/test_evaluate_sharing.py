"""Pairs shared among processes, ranks and machines: the figures of one process, and what was killed goes on."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ear_sat.errors import UserError
from ear_sat.evaluate import evaluate, merge
from ear_sat.evaluate.report import Report

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_evaluate.py"
NO_CLIPS = Report(clips=0)


@pytest.fixture
def music(tmp_path, write, noise):
    """Four references and a codec's output."""
    for index in range(4):
        write(tmp_path / "ref" / f"{index}.wav", noise(index, 0.2))
        write(tmp_path / "codec" / f"{index}.wav", noise(index, 0.2) + 0.1 * noise(9, 0.2))
    return tmp_path


@pytest.fixture
def as_rank(monkeypatch):
    def set_rank(rank, size):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(size))

    yield set_rank


def figures(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))["summaries"]


def test_ranks_share_the_files(music, as_rank, monkeypatch, evaluate_command, capsys):
    arguments = ("--reference", music / "ref", "--estimate", f"x={music / 'codec'}", "--audio", 0)
    assert evaluate_command(*arguments, "--out", music / "alone") == 0
    for rank in (0, 1):
        as_rank(rank, 2)
        capsys.readouterr()
        assert evaluate_command(*arguments, "--out", music / "out") == 0
        assert f"rank {rank} of 2 (torchrun): 2 pair(s) measured" in capsys.readouterr().out
    assert not (music / "out" / "results.json").exists()
    assert {file.name for file in (music / "out" / "rows").iterdir()} == {"0.jsonl", "1.jsonl"}
    monkeypatch.undo()
    before = [file.read_bytes() for file in sorted((music / "out" / "rows").iterdir())]
    assert evaluate_command(*arguments, "--out", music / "out") == 0
    assert [file.read_bytes() for file in sorted((music / "out" / "rows").iterdir())] == before  # nothing was measured
    assert figures(music / "out") == figures(music / "alone")


def test_merge(music, as_rank, monkeypatch, evaluate_command, capsys):
    """Machines with folders of their own; one of them has a file without a counterpart, one has failed."""
    arguments = ("--reference", music / "ref", "--estimate", f"x={music / 'codec'}", "--audio", 0)
    assert evaluate_command(*arguments, "--out", music / "alone") == 0
    for rank in (0, 1):
        as_rank(rank, 2)
        assert evaluate_command(*arguments, "--out", music / f"out{rank}") == 0
    monkeypatch.undo()
    merging = ("--merge", music / "out0", music / "out1", "--out", music / "merged", "--audio", 0)
    assert evaluate_command(*merging, "--parquet") == 0
    assert figures(music / "merged") == figures(music / "alone")
    assert (music / "merged" / "results.csv").read_bytes() == (music / "alone" / "results.csv").read_bytes()
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'ear-sat[parquet]'")
    table = parquet.read_table(music / "merged" / "results.parquet").to_pylist()
    with (music / "merged" / "results.csv").open(encoding="utf-8", newline="") as file:
        for parquet_row, csv_row in zip(table, csv.DictReader(file), strict=True):
            assert {k: "" if v is None else str(v) for k, v in parquet_row.items()} == csv_row
    assert evaluate_command(*merging, "--visqol") == 1
    assert "--merge only reports what was measured; leave --visqol out" in capsys.readouterr().err
    assert evaluate_command(*merging, "--blind", "abx") == 1
    assert "--merge only reports what was measured; leave --blind out" in capsys.readouterr().err


def test_merging_what_does_not_go_together(music):
    estimates = {"x": music / "codec"}
    evaluate(music / "ref", estimates, music / "a", NO_CLIPS, processes=1)
    evaluate(music / "ref", estimates, music / "b", NO_CLIPS, processes=1, align=True)
    with pytest.raises(UserError, match="measured with other settings"):
        merge([music / "a", music / "b"], music / "out", NO_CLIPS)
    with pytest.raises(UserError, match="there are no measurements in"):
        merge([music / "ref"], music / "out", NO_CLIPS)


def test_merging_takes_what_did_not_fail(music):
    estimates = {"x": music / "codec"}
    whole = (music / "codec" / "2.wav").read_bytes()
    (music / "codec" / "2.wav").write_bytes(b"")
    assert len(evaluate(music / "ref", estimates, music / "a", NO_CLIPS, processes=1).failures) == 1
    (music / "codec" / "2.wav").write_bytes(whole)
    evaluate(music / "ref", estimates, music / "b", NO_CLIPS, processes=1)
    merged = merge([music / "a", music / "b"], music / "out", NO_CLIPS)
    assert [result.file for result in merged.results] == ["0", "1", "2", "3"] and not merged.failures


def test_merging_what_has_lost_its_reference_since(music):
    """A run that has nothing to measure still tells what found no counterpart."""
    estimates = {"x": music / "codec"}
    evaluate(music / "ref", estimates, music / "a", NO_CLIPS, processes=1)
    (music / "ref" / "3.wav").unlink()
    alone = evaluate(music / "ref", estimates, music / "a", NO_CLIPS, processes=1).pairing.unmatched
    assert [entry.path.name for entry in alone] == ["3.wav"]
    assert merge([music / "a"], music / "out", NO_CLIPS).pairing.unmatched == alone


def test_merging_a_folder_that_measured_two_systems_of_one_name(music):
    shutil.copytree(music / "codec", music / "other")
    (music / "other" / "3.wav").unlink()
    for place in ("codec", "other"):
        evaluate(music / "ref", {"x": music / place}, music / "a", NO_CLIPS, processes=1)
    merged = merge([music / "a"], music / "out", NO_CLIPS)
    assert merged.pairing.notes == [
        f"x was measured in {music / 'codec'} and in {music / 'other'}; the last result of each file counts"
    ]
    assert [Path(result.estimate).parent.name for result in merged.results] == ["other", "other", "other", "codec"]


def test_data_among_ranks(music, as_rank, evaluate_command, capsys):
    as_rank(0, 2)
    assert evaluate_command("--weights", music / "m.pt", "--data", music / "ref", "--out", music / "out") == 1
    assert "run ear-sat reconstruct among them first" in capsys.readouterr().err


def test_codecs_among_ranks(music, as_rank, evaluate_command, capsys):
    """Before anything is downloaded: each rank would reconstruct all of the music."""
    as_rank(0, 2)
    assert evaluate_command("--codec", "dac_44khz", "--reference", music / "ref", "--out", music / "out") == 1
    assert "ranks cannot wait for the reconstructions of --data and --codec" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_killed_twice(tmp_path, engine):
    """The script of the benchmark, with few pairs: every figure as in sequence."""
    if engine == "ray":
        pytest.importorskip("ray", reason="needs Ray: pip install 'ear-sat[ray]'")

    def run(name, *options):
        command = [sys.executable, SCRIPT, "--out", tmp_path, "--pairs", "18", "--seconds", "1", "--name", name]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    assert run("one", "--kills", "0", "--", "--processes", "1").returncode == 0
    rows = tmp_path / "one" / "results.csv"
    done = run("two", "--kills", "2", "--rows", str(rows), "--", "--processes", "2", "--engine", engine)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "two" / "bench.json").read_text(encoding="utf-8"))
    assert (result["pairs"], result["failed"], result["rows that differ"]) == (18, 0, 0)
