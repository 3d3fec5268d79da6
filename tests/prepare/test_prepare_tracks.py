"""Where tracks come from: folders, lists, shards, and what goes wrong there."""

import io
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ear_sat import UserError
from ear_sat.data.manifest import split_path
from ear_sat.data.parts import UnusableFileError
from ear_sat.prepare import Rules
from ear_sat.prepare.tracks import Found, find_tracks, read_member, read_sidecar


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(*sources: Path, without: Path = Path("/nowhere")) -> list[Found]:
    return sorted(find_tracks(sources, without), key=lambda track: track.path)


def names(*sources: Path, relative_to: Path, without: Path = Path("/nowhere")) -> list[str]:
    return [os.path.relpath(track.path, relative_to) for track in found(*sources, without=without)]


def make_shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    return path


def audio(seconds: float = 0.5, suffix: str = "FLAC") -> bytes:
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal((round(44100 * seconds), 2))
    soundfile.write(file, noise, 44100, format=suffix)
    return file.getvalue()


def test_folders(tmp_path):
    touch(tmp_path / "b.flac", tmp_path / "a" / "x.MP3", tmp_path / "a" / "deep" / "y.wav", tmp_path / "notes.txt")
    touch(tmp_path / ".hidden.wav", tmp_path / ".cache" / "z.wav", tmp_path / "cover.jpg", tmp_path / "out" / "o.flac")
    assert names(tmp_path, relative_to=tmp_path, without=tmp_path / "out") == ["a/deep/y.wav", "a/x.MP3", "b.flac"]


def test_links_are_followed_but_not_round_and_round(tmp_path):
    touch(tmp_path / "music" / "a.wav", tmp_path / "elsewhere" / "b.wav")
    (tmp_path / "music" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "music" / "up").symlink_to(tmp_path / "music")
    assert names(tmp_path / "music", relative_to=tmp_path / "music") == ["a.wav", "link/b.wav"]


def test_entries_that_cannot_be_looked_at_hide_no_others(tmp_path):
    touch(*(tmp_path / f"{name}.wav" for name in "abc"), tmp_path / "sub" / "d.wav")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "long").symlink_to("x" * 300)
    assert names(tmp_path, relative_to=tmp_path) == ["a.wav", "b.wav", "c.wav", "sub/d.wav"]


def test_files_and_text_lists(tmp_path):
    touch(tmp_path / "a.wav", tmp_path / "music" / "b.odd")
    (tmp_path / "list.txt").write_text(f"\ufeffmusic/b.odd\n\n  {tmp_path}/a.wav\r\nmissing.wav\n", encoding="utf-8")
    assert names(tmp_path / "list.txt", relative_to=tmp_path) == ["a.wav", "missing.wav", "music/b.odd"]
    tracks = found(tmp_path / "list.txt")
    assert [bool(track.error) for track in tracks] == [False, True, False]
    assert tracks[1].error == "not readable (No such file or directory)"
    assert names(tmp_path / "music" / "b.odd", relative_to=tmp_path) == ["music/b.odd"]  # named, so the suffix is free


def test_a_bad_line_of_a_list_is_an_error_of_that_track(prepare, tmp_path):
    (tmp_path / "a.wav").write_bytes(audio(suffix="WAV"))
    (tmp_path / "list.txt").write_text(f"a.wav\n{'x' * 300}.wav\nze\0ro.wav\n")
    tracks = {Path(track.path).name: track.error for track in found(tmp_path / "list.txt")}
    assert tracks["a.wav"] == "" and tracks[f"{'x' * 300}.wav"] == "not readable (File name too long)"
    assert tracks[r"ze\x00ro.wav"] == "not readable (embedded null byte)"  # as tables can hold it
    assert prepare(tmp_path / "list.txt").statistics.by_decision["error"].tracks == 2


@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_a_list_in_utf_16(suffix, tmp_path):
    (tmp_path / f"list.{suffix}").write_text("path\na.wav\n", encoding="utf-16")
    with pytest.raises(UserError, match=rf"list\.{suffix} is UTF-16; save it as UTF-8"):
        found(tmp_path / f"list.{suffix}")


def test_tables(tmp_path):
    touch(tmp_path / "a.wav", tmp_path / "b, c.wav")
    (tmp_path / "list.csv").write_text('id,path\n1,a.wav\n2,"b, c.wav"\n3,\n')
    assert names(tmp_path / "list.csv", relative_to=tmp_path) == ["a.wav", "b, c.wav"]
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"path": ["a.wav", None, "b, c.wav"], "other": [1, 2, 3]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "list.parquet")
    assert names(tmp_path / "list.parquet", relative_to=tmp_path) == ["a.wav", "b, c.wav"]


def test_playlists(tmp_path):
    touch(tmp_path / "a.wav", tmp_path / "music" / "b c.wav")
    text = f"#EXTM3U\n#EXTINF:1,A\na.wav\n\nfile://{tmp_path}/music/b%20c.wav\n"
    for suffix in ("m3u", "m3u8", "M3U"):
        (tmp_path / f"list.{suffix}").write_text(text)
        assert names(tmp_path / f"list.{suffix}", relative_to=tmp_path) == ["a.wav", "music/b c.wav"]


def test_json_lines(tmp_path):
    touch(tmp_path / "a.wav", tmp_path / "b.wav")
    rows = [{"path": "a.wav", "text": "x"}, {"text": "y", "path": "b.wav"}, {"path": None}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert names(tmp_path / "list.jsonl", relative_to=tmp_path) == ["a.wav", "b.wav"]
    for text, reason in {
        '{"path": "a.wav"}\n{"file": "b.wav"}': r"line 2 of the list .*list\.jsonl has no column path; it has file",
        '{"path": "a.wav"}\n{"path": ': r"line 2 of the list .*list\.jsonl is not JSON: Expecting value",
        '["a.wav"]': r"line 1 of the list .*list\.jsonl must be an object, not a list",
    }.items():
        (tmp_path / "list.jsonl").write_text(text)
        with pytest.raises(UserError, match=reason):
            found(tmp_path / "list.jsonl")


@pytest.mark.parametrize(
    ("name", "command"), [("a.tar.gz", "tar -xf a.tar.gz"), ("a.TGZ", "tar -xf a.TGZ"), ("a b.zip", "unzip 'a b.zip'")]
)
def test_archives(prepare, name, command, tmp_path):
    """Refused where they are given, counted where they lie in a folder."""
    touch(tmp_path / "music" / name)
    with pytest.raises(UserError, match=re.escape(f"{name}: it is an archive: unpack it ({command}), and give")):
        found(tmp_path / "music" / name)
    (tmp_path / "music" / "a.wav").write_bytes(audio(suffix="WAV"))
    (note,) = (note for note in prepare(tmp_path / "music").notes if "not read" in note)
    assert f"({Path(name).suffix.lower()} 1)" in note and "unpack archives" in note


def test_tables_without_paths(tmp_path):
    (tmp_path / "list.csv").write_text("file\na.wav\n")
    with pytest.raises(UserError, match=r"list\.csv has no column path; it has file"):
        found(tmp_path / "list.csv")
    pytest.importorskip("pyarrow")
    (tmp_path / "list.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"cannot read the list .*list\.parquet"):
        found(tmp_path / "list.parquet")


@pytest.mark.parametrize("name", ["nothing", "x" * 300])
def test_a_source_that_is_not_there(name, tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        found(tmp_path / name)


def test_shards(tmp_path):
    members = {"a/1.flac": audio(), "a/1.json": b'{"text": "drums"}', "2.mp3": b"x", "._2.mp3": b"x", "3.txt": b"x"}
    shard = make_shard(tmp_path / "shards" / "0.tar", members)
    assert names(shard, relative_to=tmp_path) == ["shards/0.tar::2.mp3", "shards/0.tar::a/1.flac"]
    assert names(tmp_path, relative_to=tmp_path) == names(shard, relative_to=tmp_path)
    (tmp_path / "list.txt").write_text("shards/0.tar\nshards/0.tar::a/1.flac\n")
    assert len(found(tmp_path / "list.txt")) == 3  # one of them twice
    path = f"{shard}::a/1.flac"
    assert read_member(*split_path(path)) == members["a/1.flac"]
    assert read_sidecar(path) == {"text": "drums"}
    assert read_sidecar(f"{shard}::2.mp3") == read_sidecar(str(tmp_path / "a.wav")) == {}


def test_names_with_dots_keep_their_json(tmp_path):
    """Their own, if they have one; else that of the name up to the first dot, as WebDataset has it."""
    jsons = {"01. Intro (v1.2).json": b'{"prompt": "own"}', "01.json": b'{"prompt": "first dot"}'}
    shard = make_shard(tmp_path / "0.tar", {"01. Intro (v1.2).flac": b"x", "01.mix.flac": b"x", **jsons})
    prompts = {
        name: read_sidecar(f"{shard}::{name}").get("prompt") for name in ("01. Intro (v1.2).flac", "01.mix.flac")
    }
    assert prompts == {"01. Intro (v1.2).flac": "own", "01.mix.flac": "first dot"}


def test_suffixes_in_upper_case(prepare, manifest, tmp_path):
    make_shard(tmp_path / "music" / "A.TAR", {"1.FLAC": audio(), "1.json": b'{"text": "drums"}'})
    (track,) = found(tmp_path / "music")
    assert track.path == f"{tmp_path}/music/A.TAR::1.FLAC" and read_sidecar(track.path) == {"text": "drums"}
    prepare(tmp_path / "music")
    assert manifest()["1.FLAC"]["error"] is None


def test_broken_shards(tmp_path):
    whole = make_shard(tmp_path / "whole.tar", {"1.flac": audio(), "2.flac": audio(2)}).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "text.tar").write_text("no shard")
    (tmp_path / "empty.tar").touch()
    tracks = {Path(track.path).name: track.error for track in found(tmp_path)}
    assert tracks["cut.tar::1.flac"] == tracks["cut.tar::2.flac"] == ""
    for name in ("cut.tar", "text.tar", "empty.tar"):
        assert tracks[name].startswith("not readable as a shard to its end")
    with pytest.raises(UnusableFileError, match="truncated"):
        read_member(str(tmp_path / "cut.tar"), "2.flac")
    with pytest.raises(UnusableFileError, match="no such member"):
        read_member(str(tmp_path / "cut.tar"), "3.flac")


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff"])
def test_a_json_that_is_none(content, tmp_path):
    shard = make_shard(tmp_path / "0.tar", {"1.flac": audio(), "1.json": content})
    with pytest.raises(UnusableFileError, match=r"1\.json"):
        read_sidecar(f"{shard}::1.flac")


def test_members_are_measured_like_files(prepare, manifest, tmp_path):
    make_shard(tmp_path / "0.tar", {"1.flac": audio(), "2.mp3": audio(suffix="MP3"), "3.ogg": b"", "4.wav": b"junk"})
    bad = make_shard(tmp_path / "1.tar", {"5.flac": audio(), "5.json": b"["})
    (tmp_path / "1.flac").write_bytes(audio())
    result = prepare(tmp_path)
    rows = manifest()
    assert rows["3.ogg"]["error"] == "the file is empty (0 bytes)" and rows["4.wav"]["error"].startswith(
        "not readable as"
    )
    assert rows["5.flac"]["path"] == f"{bad}::5.flac" and "not valid JSON" in rows["5.flac"]["error"]
    assert rows["2.mp3"]["container"] == "MP3"
    assert rows["1.flac"]["frames"] == 22050
    assert result.statistics.total.tracks == 6


def test_an_unusable_copy_replaces_no_usable_one(prepare, manifest, tmp_path):
    make_shard(tmp_path / "0.tar", {"1.flac": audio(), "1.json": b"["})
    (tmp_path / "2.flac").write_bytes(audio())
    prepare(tmp_path, rules=Rules(no_duplicates=True))
    rows = manifest()
    assert rows["1.flac"]["sha256"] == rows["2.flac"]["sha256"] and rows["1.flac"]["decision"] == "error"
    assert rows["2.flac"]["decision"] == "keep"


def test_names_that_are_not_unicode(prepare, tmp_path):
    try:
        touch(Path(os.fsdecode(bytes(tmp_path / "music") + b"/caf\xe9.wav")))
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    for retry in (False, True):
        prepare(tmp_path / "music", retry_errors=retry)
        assert "not valid UTF-8" in (tmp_path / "out" / "manifest.csv").read_text(encoding="utf-8")
        assert r"caf\xe9.wav" in (tmp_path / "out" / "manifest.csv").read_text(encoding="utf-8")


def test_no_audio_at_all(prepare, tmp_path):
    (tmp_path / "music").mkdir()
    with pytest.raises(UserError, match="there is no audio file"):
        prepare(tmp_path / "music")
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_other_formats_are_counted(prepare, write, tmp_path):
    music = tmp_path / "music"
    touch(music / "a.m4a", music / "sub" / "b.M4A", music / "c.wv", music / "._c.wv", music / "cover.jpg")
    make_shard(music / "0.tar", {"d.m4a": b"x", "d.json": b"{}"})
    note = "4 file(s) of formats that are not read (.m4a 3, .wv 1): convert them to flac first"
    with pytest.raises(UserError, match=r"no audio file .*\.wav \.flac \.mp3") as raised:
        prepare(music)
    assert note in str(raised.value)
    write(music / "e.wav", np.zeros((44100, 2)))
    assert note in prepare(music).notes


@pytest.mark.parametrize("out", ["music", "music/../music", "link"])
def test_out_is_a_source(out, prepare, write, tmp_path):
    write(tmp_path / "music" / "a.wav", np.zeros((44100, 2)))
    (tmp_path / "link").symlink_to("music")
    with pytest.raises(UserError, match=r"--out .* is one of the sources; choose a folder of its own"):
        prepare(tmp_path / "music", out=tmp_path / out)
    assert [path.name for path in (tmp_path / "music").iterdir()] == ["a.wav"]
    assert prepare(tmp_path / "music", out=tmp_path / "music" / "out").statistics.total.tracks == 1


def test_the_manifest_is_a_list_too(prepare, manifest, write, tmp_path):
    write(tmp_path / "music" / "a.wav", np.zeros((44100, 2)))
    make_shard(tmp_path / "music" / "0.tar", {"b.flac": audio()})
    prepare(tmp_path / "music")
    for name in ("manifest.csv", "manifest.parquet"):
        prepare(tmp_path / "out" / name, out=tmp_path / name[-3:])
        assert manifest(tmp_path / name[-3:]) == manifest()


def test_sidecars_are_json(tmp_path):
    shard = make_shard(tmp_path / "0.tar", {"x.y.flac": audio(), "x.json": json.dumps({"a": 1}).encode()})
    assert read_sidecar(f"{shard}::x.y.flac") == {"a": 1}  # WebDataset: the key ends at the first dot
