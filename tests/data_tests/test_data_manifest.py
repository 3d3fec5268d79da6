"""Manifests in place of folders: no file is opened to learn its length."""

import csv
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from data_test_audio import RATE, music

from ear_sat.data import FolderDataset
from ear_sat.data import sources as sources_module
from ear_sat.data.manifest import read_manifest
from ear_sat.errors import UserError

SIZE = 4096
COLUMNS = ["path", "frames", "sample_rate", "channels", "decision", "lufs"]


def row(path, frames=RATE, rate=RATE, channels=2, decision="keep"):
    values = (path, frames, rate, channels, decision, -14.2)
    return dict(zip(COLUMNS, map(str, values), strict=True))


@pytest.fixture
def manifest(tmp_path):
    """Writes ``tmp_path/list.csv``, ``.parquet`` or ``.jsonl``."""

    def write(rows, name="list.csv", columns=COLUMNS):
        path = tmp_path / name
        if path.suffix == ".parquet":
            pyarrow = pytest.importorskip("pyarrow")
            parquet = pytest.importorskip("pyarrow.parquet")
            kinds = {"frames": int, "sample_rate": int, "channels": int, "duration": float, "lufs": float}
            parquet.write_table(pyarrow.table({c: [kinds.get(c, str)(r[c]) for r in rows] for c in columns}), path)
            return path
        if path.suffix == ".jsonl":
            path.write_text("".join(json.dumps({c: r[c] for c in columns}) + "\n" for r in rows), encoding="utf-8")
            return path
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def dataset(path, folder=None, **keys):
    entry = {"id": "music", "manifest": str(path), **({"path": str(folder)} if folder else {})}
    entry |= {key: keys.pop(key) for key in ("decisions", "weight", "custom_metadata_module") if key in keys}
    return FolderDataset([entry], SIZE, RATE, **keys)


@pytest.mark.parametrize("name", ["list.csv", "list.parquet", "list.jsonl"])
def test_the_kept_files_and_no_header_opened(manifest, write, name, monkeypatch):
    for file in "abc":
        write(f"{file}.wav", music(seed=ord(file)))
    rows = [row("music/a.wav"), row("music/b.wav", decision="quiet"), row("music/c.wav")]
    monkeypatch.setattr(sources_module, "open_header", None)
    opened = []
    original = soundfile.SoundFile.__init__

    def count(self, file, *args, **kwargs):
        opened.append(file)
        original(self, file, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", count)
    data = dataset(manifest(rows, name))
    assert [Path(file.path).name for file in data.files] == ["a.wav", "c.wav"] and not data.left_out
    assert len(opened) == 1, "one crop, to see that not all is silent"
    for audio, info in data:
        start = round(info["timestamps"][0] * RATE)
        assert info["relpath"] in ("a.wav", "c.wav")
        expected = music(seed=ord(info["relpath"][0]))[start : start + SIZE].T
        assert np.array_equal(audio.numpy(), expected)


def test_manifest_and_folder_give_the_same_crops(manifest, write, tmp_path):
    for file in ("a", "b", "sub/c"):
        write(f"{file}.wav", music(2.0, seed=ord(file[-1])))
    folder = FolderDataset([{"path": str(tmp_path / "music")}], SIZE, RATE, split="train", held_out_share=0.3)
    rows = [row(f"{file}.wav", 2 * RATE) for file in ("a", "b", "sub/c")]
    listed = dataset(manifest(rows), tmp_path / "music", split="train", held_out_share=0.3)
    assert list(folder.files) == list(listed.files) and len(folder) == len(listed) == 2
    for (one, info), (other, same) in zip(folder, listed, strict=True):
        assert one.equal(other) and info["relpath"] == same["relpath"]


def test_duration_in_place_of_frames_and_a_missing_decision_column(manifest, write):
    write("a.wav", music(1.5))
    rows = [{"path": "music/a.wav", "duration": "1.5", "sample_rate": f"{RATE}.0", "channels": "2"}]
    for name in ("list.csv", "list.parquet"):
        if name.endswith("csv") or "pyarrow" in sys.modules:
            rows[0]["sample_rate"] = f"{RATE}.0" if name.endswith("csv") else str(RATE)
            data = dataset(manifest(rows, name, ["path", "duration", "sample_rate", "channels"]))
            assert data.files[0].frames == 1.5 * RATE


def test_other_decisions(manifest, write, caplog):
    for file in "ab":
        write(f"{file}.wav")
    path = manifest([row("music/a.wav"), row("music/b.wav", decision="stage 1"), row("music/c.wav", decision="drop")])
    assert len(dataset(path, decisions=["keep", "stage 1"])) == 2
    with caplog.at_level(logging.INFO):
        assert len(dataset(path)) == 1
    assert "'stage 1'" in caplog.text and "'drop'" in caplog.text


def test_unusable_rows_are_left_out_with_a_reason(manifest, write):
    write("a.wav")
    rows = [row("music/a.wav"), row("music/b.wav", ""), row("music/c.wav", "nan"), row("music/d.wav", 0)]
    rows += [row("music/e.wav", channels=9), row("music/f.wav", rate=0)]
    data = dataset(manifest(rows))
    reasons = {Path(path).name: reason for path, reason in data.left_out.items()}
    assert reasons.keys() == {"b.wav", "c.wav", "d.wav", "e.wav", "f.wav"} and len(data) == 1
    assert "lacks the length" in reasons["b.wav"] and "no samples" in reasons["d.wav"]
    assert "9 channels" in reasons["e.wav"] and "sample rate" in reasons["f.wav"]


def test_members_of_shards_are_no_files(manifest, write, caplog):
    """They are not held out in place of files, and change no name."""
    files = [f"music/{number}.wav" for number in range(10)]
    for file in files:
        write(Path(file).name)
    rows = [row(file) for file in files]
    both = rows + [row(f"/in/0.{('tar', 'TAR')[number % 2]}::{number}.flac") for number in range(90)]
    plain = dataset(manifest(rows), split="held_out", held_out_share=0.2)
    with caplog.at_level(logging.INFO):
        mixed = dataset(manifest(both), split="held_out", held_out_share=0.2)
    assert list(mixed.files) == list(plain.files) and len(mixed.files) == 3 and not mixed.left_out
    assert "90 rows not used: they lie in shards" in caplog.text
    with pytest.raises(UserError, match=r"no usable row.*lie in shards, which ear_audio cannot read"):
        dataset(manifest(both[10:]))


def test_a_manifest_that_is_out_of_date_costs_the_file_not_the_run(manifest, write):
    for file in "abcd":
        write(f"{file}.wav")
    write("b.wav", rate=8000)
    path = manifest([row("music/gone.wav"), row("music/b.wav"), row("music/c.wav", 20 * RATE), row("music/d.wav")])
    data = dataset(path, crops_per_file=8)
    infos = [info for _, info in data]
    assert "d.wav" in {info["relpath"] for info in infos} <= {"c.wav", "d.wav"}
    reasons = {Path(path).name: reason for path, reason in data.left_out.items()}
    assert "No such file" in reasons["gone.wav"] and "changed" in reasons["b.wav"] and "promises" in reasons["c.wav"]


def test_names_are_relative_to_what_all_rows_share(manifest, tmp_path):
    """So that a name, and with it the split, does not depend on which rows are used."""
    rows = [row("/music/rock/a.wav"), row("/music/rock-pop/b.wav", decision="drop"), row("/music/rock/x/c.wav")]
    path = manifest(rows)
    root, files = read_manifest(path, lambda *_: None)
    assert root == Path("/music") and [file.path for file in files] == ["/music/rock/a.wav", "/music/rock/x/c.wav"]
    assert read_manifest(path, lambda *_: None, tmp_path)[0] == Path("/music"), "not all lie in the folder given"
    inside = manifest([row("x/../a.wav"), row(str(tmp_path / "b" / "c.wav"))])
    root, files = read_manifest(inside, lambda *_: None, tmp_path)
    assert root == tmp_path and [file.path for file in files] == [str(tmp_path / "a.wav"), str(tmp_path / "b/c.wav")]


@pytest.mark.parametrize(
    "rows, columns, words",
    [
        ([], COLUMNS, "no usable row with the decision keep"),
        ([row("a.wav", decision="drop")], COLUMNS, "their decisions: drop"),
        ([row("a.wav", 0)], COLUMNS, "no usable row"),
        ([row("a.wav")], ["path", "frames", "channels"], "lacks the column sample_rate; it has path, frames"),
        ([row("a.wav")], ["path", "sample_rate", "channels"], r"lacks the column frames \(or duration\)"),
    ],
)
def test_manifests_that_cannot_be_used(manifest, rows, columns, words):
    with pytest.raises(UserError, match=words):
        dataset(manifest(rows, columns=columns))


def test_other_wrong_manifests(manifest, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such manifest"):
        dataset(tmp_path / "none.csv")
    (tmp_path / "list.txt").write_text("path\n")
    with pytest.raises(UserError, match=r"must be a \.csv, \.parquet or \.jsonl file, not .*list\.txt: it is a list"):
        dataset(tmp_path / "list.txt")
    (tmp_path / "list.tar.gz").touch()
    with pytest.raises(UserError, match=r"not .*list\.tar\.gz: it is an archive: unpack it \(tar -xf list\.tar\.gz\)"):
        dataset(tmp_path / "list.tar.gz")
    (tmp_path / "list.jsonl").write_text('{"path": "a.wav", "frames": 1, "sample_rate": 8000, "channels": 1}\n{}')
    with pytest.raises(UserError, match=r"line 2 of the manifest .*list\.jsonl lacks the column path, sample_rate"):
        dataset(tmp_path / "list.jsonl")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="lacks the column path"):
        dataset(tmp_path / "empty.csv")
    (tmp_path / "list.parquet").write_bytes(b"no table at all")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'ear-sat\[parquet\]'"):
        dataset(tmp_path / "list.parquet")
    with pytest.raises(UserError, match=r"datasets\[0\].*decisions must be a list"):
        dataset(manifest([row("a.wav")]), decisions="keep")
    with pytest.raises(UserError, match="decisions are those of a manifest"):
        FolderDataset([{"path": str(tmp_path), "decisions": ["keep"]}], SIZE, RATE)


def test_a_broken_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "list.parquet").write_bytes(b"no table at all")
    with pytest.raises(UserError, match="cannot read the manifest"):
        dataset(tmp_path / "list.parquet")
