"""A run folder is made once, found again, and refuses everything else in one sentence."""

from __future__ import annotations

import errno
import json

import pytest

from ear_sat.errors import UserError
from ear_sat.files import write_text
from ear_sat.training.run.earlier_runs import MEANINGS
from ear_sat.training.run.folder import RunFolder


def test_create_writes_configs_and_versions(tmp_path, names):
    model = {"model_type": "autoencoder", "name": "εar"}
    run = RunFolder.create(tmp_path / "out", "first", model, {"a": 1})
    assert run.root == tmp_path / "out" / "first"
    assert names(run.root) == [
        "checkpoints",
        "dataset_config.json",
        "demos",
        "export",
        "model_config.json",
        "versions.json",
    ]
    assert json.loads(run.model_config.read_text(encoding="utf-8")) == model
    assert run.dataset_config.read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'
    versions = json.loads(run.versions.read_text(encoding="utf-8"))
    assert {"python", "platform", "torch", "stable-audio-tools", "ear-sat", "soundfile", "cpu_count", "gpus"} <= set(
        versions
    )
    assert versions["torch"] and versions["cpu_count"] > 0
    assert RunFolder.resume(run.root) == run


def test_default_place_is_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunFolder.create(None, "a", {}, {}).root.as_posix() == "runs/a"
    assert (tmp_path / "runs" / "a" / "checkpoints").is_dir()


def test_used_name(tmp_path):
    run = RunFolder.create(tmp_path, "a", {}, {})
    with pytest.raises(UserError, match=rf"{run.root} exists already; pick another --name or .*--resume {run.root}"):
        RunFolder.create(tmp_path, "a", {}, {})
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(tmp_path, "empty", {}, {}).model_config.is_file()


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a/b", "/a", "a\\b", "../a", "a\0b"])
def test_names_that_are_no_folder_names(tmp_path, name, names):
    with pytest.raises(UserError, match="--name"):
        RunFolder.create(tmp_path, name, {}, {})
    assert names(tmp_path) == []


def test_unwritable_place(tmp_path, monkeypatch, names):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the run folder .*; make that place writable"):
        RunFolder.create(tmp_path / "file", "a", {}, {})

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        with pytest.raises(UserError, match="No space left"):
            RunFolder.create(tmp_path, "a", {}, {})
    assert names(tmp_path) == ["file"]
    RunFolder.create(tmp_path, "a", {}, {})  # the name is free again


def test_resume_of_something_else(tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        RunFolder.resume(tmp_path / "none")
    with pytest.raises(UserError, match="is not a run folder; --resume takes"):
        RunFolder.resume(tmp_path)
    run = RunFolder.create(tmp_path, "a", {}, {})
    (run.checkpoints / "last.ckpt").write_text("")
    for inside in (run.checkpoints, run.checkpoints / "last.ckpt"):
        with pytest.raises(UserError, match=rf"did you mean {run.root}\?"):
            RunFolder.resume(inside)


def test_resume_removes_what_killed_writers_left(tmp_path, names):
    run = RunFolder.create(tmp_path, "a", {}, {})
    demo = run.demos / "step-6"
    demo.mkdir()
    killed = [run.root / ".metrics.csv.12.tmp", run.checkpoints / ".last.ckpt.7.tmp", run.demos / ".x.png.7.tmp"]
    for stale in [*killed, demo / ".clip-0.png.7.tmp"]:
        stale.write_text("half")
    kept = [run.demos / "mine.tmp", run.demos / ".notes.tmp", run.checkpoints / "last.ckpt"]
    for file in kept:
        file.write_text("kept")
    RunFolder.resume(run.root)
    assert names(run.checkpoints) == ["last.ckpt"] and names(run.demos) == [".notes.tmp", "mine.tmp", "step-6"]
    assert not names(demo)
    assert ".metrics.csv.12.tmp" not in names(run.root)


def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch, names):
    write_text(tmp_path / "a.txt", "ε\n")
    assert (tmp_path / "a.txt").read_bytes() == "ε\n".encode()

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ε\n" and names(tmp_path) == ["a.txt"]


def test_versions_say_what_the_configs_mean(tmp_path):
    run = RunFolder.create(tmp_path, "a", {}, {})
    assert run.read_versions().items() >= MEANINGS.items()
    for damaged in ("", "[]", "{"):
        run.versions.write_text(damaged)
        assert run.read_versions() == {}
    write_text(run.versions, '{"torch": "2.8.0"}\n')  # as an earlier version left it
    run.keep_configs(3, {"b": 2}, {})
    assert run.read_versions() == {"torch": "2.8.0", **MEANINGS}
    run.versions.unlink()
    run.keep_configs(4, {"b": 2}, {})
    assert run.read_versions() == MEANINGS
