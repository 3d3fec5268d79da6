"""A second run: nothing is measured twice, what has changed is, and a killed one is continued."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from prepare_test_signals import tone
from waiting import wait_for

from ear_sat import UserError
from ear_sat.prepare import Rules, ShardSettings, run
from ear_sat.prepare.database import Database

#: Measures slowly and writes down what was measured to its end.
SLOWLY = """
import sys, time
from pathlib import Path
from ear_sat.cli.main import main
from ear_sat.prepare import run

measure, write = run.measure_track, run.write_shard

def slow_measure(path):
    row = measure(path)
    time.sleep(0.3)
    return row

def slow_write(shard, rate):
    if shard.path.name[:6] != "000000":
        time.sleep(30)
    return write(shard, rate)

run.measure_track, run.write_shard = slow_measure, slow_write
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def measured(monkeypatch):
    """The names of the files that are measured, as they are."""
    names: list[str] = []
    original = run.measure_track

    def measure(path):
        names.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(run, "measure_track", measure)
    return names


@pytest.fixture
def music(write, tmp_path):
    for index in range(6):
        write(tmp_path / "music" / f"{index}.flac", tone(-10 - index, 0.5))
    return tmp_path / "music"


def rows_in(database: Path) -> int:
    """How many rows a running process has put there; its file is locked, so a copy is read."""
    files = {suffix: Path(f"{database}{suffix}") for suffix in ("", "-wal")}
    copies = {suffix: database.with_name(f"copy.sqlite{suffix}") for suffix in files}
    try:
        for suffix, file in files.items():
            copies[suffix].write_bytes(file.read_bytes())
        with sqlite3.connect(copies[""]) as connection:
            return connection.execute("SELECT count(*) FROM tracks WHERE row IS NOT NULL").fetchone()[0]
    except (OSError, sqlite3.Error):
        return 0
    finally:
        for copy in (*copies.values(), database.with_name("copy.sqlite-shm")):
            copy.unlink(missing_ok=True)


def kill_when(command: list[str], condition) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *command])
    try:
        assert wait_for(condition)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_only_what_changed(prepare, manifest, measured, music, write):
    assert prepare(music).measured == 6
    first = manifest()
    measured.clear()
    assert prepare(music).measured == 0 and not measured
    assert manifest() == first

    write(music / "2.flac", tone(-30, 0.5))
    write(music / "9.flac", tone(-14, 0.5))
    (music / "4.flac").unlink()
    assert prepare(music).measured == 2 and sorted(measured) == ["2.flac", "9.flac"]
    second = manifest()
    assert sorted(second) == ["0.flac", "1.flac", "2.flac", "3.flac", "5.flac", "9.flac"]
    assert second["2.flac"]["reason"] == "too_quiet" and second["0.flac"] == first["0.flac"]


def test_a_file_that_comes_back_is_known(prepare, measured, music):
    prepare(music)
    aside = (music / "4.flac").rename(music.parent / "4.flac")
    assert prepare(music).statistics.total.tracks == 5
    aside.rename(music / "4.flac")
    measured.clear()
    assert prepare(music).statistics.total.tracks == 6 and not measured


def test_other_rules_need_no_measurement(prepare, manifest, measured, music):
    prepare(music)
    measured.clear()
    result = prepare(music, rules=Rules(min_loudness=-12.5))
    assert not measured and result.measured == 0
    assert sorted(row["decision"] for row in manifest().values()) == ["keep"] * 3 + ["reject"] * 3


def test_other_code_measures_again(prepare, measured, music, monkeypatch):
    prepare(music)
    measured.clear()
    monkeypatch.setattr("ear_sat.prepare.database.measuring_code", lambda: "other")
    assert prepare(music).measured == 6 and len(measured) == 6


def test_errors_are_kept_unless_told_otherwise(prepare, manifest, measured, music):
    (music / "bad.wav").write_text("no audio")
    assert prepare(music).statistics.by_decision["error"].tracks == 1
    measured.clear()
    prepare(music)
    assert not measured
    prepare(music, retry_errors=True)
    assert measured == ["bad.wav"]
    assert manifest()["bad.wav"]["decision"] == "error"


def test_what_was_wrong_before_measuring_keeps_its_text(prepare, manifest, measured, music):
    (music / "cut.tar").write_text("no shard")
    prepare(music)
    measured.clear()
    prepare(music, retry_errors=True)
    assert manifest()["cut.tar"]["error"].startswith("not readable as a shard to its end") and not measured


def test_a_missing_file_is_looked_for_again(prepare, manifest, music, write):
    music.with_suffix(".txt").write_text("music/0.flac\nmusic/late.wav\n")
    prepare(music.with_suffix(".txt"))
    assert manifest()["late.wav"]["error"] == "not readable (No such file or directory)"
    write(music / "late.wav", tone(-14))
    assert prepare(music.with_suffix(".txt")).measured == 1
    assert manifest()["late.wav"]["decision"] == "keep"


@pytest.mark.slow
def test_killed_while_measuring(prepare, manifest, measured, music, tmp_path):
    """The manifest is that of an undisturbed run, and what was finished is not measured again."""
    out = tmp_path / "out"
    arguments = ["prepare-data", str(music), "--out", str(out), "--processes", "1"]
    kill_when(arguments, lambda: rows_in(out / "measurements.sqlite") >= 2)
    (out / f".manifest.csv.{os.getpid()}.tmp").write_text("half")  # as a kill in the middle of writing leaves it
    assert not (out / "manifest.csv").exists() and not (out / "manifest.parquet").exists()

    result = prepare(music)
    assert result.measured == len(measured) < 5
    measured.clear()
    prepare(music, out=tmp_path / "undisturbed")
    assert len(measured) == 6
    for name in ("manifest.csv", "manifest.parquet"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_killed_while_writing_shards(prepare, write, tmp_path):
    """No half-written shard, and in the end those of an undisturbed run, byte for byte; none is written twice."""
    for index in range(4):
        write(tmp_path / "music" / f"{index}.flac", tone(-10 - index, 4.0))  # more than half a megabyte each
    out, folder = tmp_path / "out", tmp_path / "out" / "shards" / "keep"
    prepare(tmp_path / "music")
    arguments = ["prepare-data", str(tmp_path / "music"), "--out", str(out), "--processes", "1", "--shards"]
    kill_when([*arguments, "--shard-size", "1"], lambda: any(folder.glob("*.tar")))
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.tar")}
    (folder / f".000001-0123456789ab.tar.{os.getpid()}.tmp").write_bytes(b"half")

    result = prepare(tmp_path / "music", shards=ShardSettings(megabytes=1))
    assert len(before) == 1 and (result.shards, result.shards_written) == (4, 3)
    prepare(tmp_path / "music", shards=ShardSettings(megabytes=1), out=tmp_path / "undisturbed")
    mine, theirs = (
        {file.name: file.read_bytes() for file in (root / "shards" / "keep").iterdir()}
        for root in (out, tmp_path / "undisturbed")
    )
    assert mine == theirs
    assert before.items() <= {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}.items()


def test_one_run_at_a_time(prepare, music, tmp_path):
    (tmp_path / "out").mkdir()
    with Database(tmp_path / "out" / "measurements.sqlite"), pytest.raises(UserError, match="in use by another"):
        prepare(music)
    assert prepare(music).measured == 6


def test_a_database_that_cannot_be_written(prepare, music, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("ear_sat.prepare.database.sqlite3.connect", full)
    with pytest.raises(UserError, match=r"cannot write to .*: database or disk is full; .*free some space"):
        prepare(music)


def test_errors_can_be_measured_again(prepare, music, monkeypatch):
    """One that has passed, such as a network that was down, changes no file."""
    with monkeypatch.context() as patch:
        patch.setattr("ear_sat.prepare.decoding._checksum", fail)
        told = prepare(music).notes
        assert any("6 track(s) had errors, named in the manifest: --retry-errors measures" in note for note in told)
    assert prepare(music).measured == 0
    result = prepare(music, retry_errors=True)
    assert result.measured == 6 and not any("had errors" in note for note in result.notes)


def fail(*_: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_damaged_database(prepare, music, tmp_path):
    prepare(music)
    (tmp_path / "out" / "measurements.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(UserError, match="is damaged"):
        prepare(music)


def test_a_full_disk(prepare, music, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "write_manifest", full)
    with pytest.raises(UserError, match="No space left on device; what is finished is kept"):
        prepare(music)


def test_what_an_interrupted_manifest_leaves_is_the_old_one(prepare, manifest, music, monkeypatch, write):
    prepare(music)
    before = (music.parent / "out" / "manifest.csv").read_bytes()
    write(music / "8.flac", tone(-14))

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "decide", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(music)
    assert (music.parent / "out" / "manifest.csv").read_bytes() == before and len(manifest()) == 6
    assert not list((music.parent / "out").glob(".*"))


def test_configs_name_the_manifest(prepare, music, tmp_path):
    result = prepare(music)
    config = json.loads((tmp_path / "out" / "stage1.json").read_text(encoding="utf-8"))
    assert config["dataset_type"] == "ear_audio"
    assert config["datasets"] == [
        {"id": "stage1", "manifest": str(tmp_path / "out" / "manifest.parquet"), "decisions": ["keep", "stage1"]}
    ]
    assert [path.name for path in result.configs] == ["stage1.json", "stage2.json"]
    result = prepare(music, rules=Rules(max_true_peak=-90))
    assert [path.name for path in result.configs] == ["stage1.json"]
    assert not (tmp_path / "out" / "stage2.json").exists()
    assert result.notes == ["no track is fit for stage2: no config for it"]
