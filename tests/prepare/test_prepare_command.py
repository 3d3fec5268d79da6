"""The command: what it prints and writes, its options, and a training data set from what it wrote."""

import csv
import json
import os
from pathlib import Path

import pytest
from PIL import Image
from prepare_test_signals import noise, stereo, tone, with_inter_sample_peak

from ear_sat.cli.main import get_parser, main
from ear_sat.data import create_dataloader
from ear_sat.prepare import Rules

pytest.importorskip("pyarrow")


@pytest.fixture
def command(tmp_path):
    """Calls the command in this process; returns the exit code."""

    def call(*arguments: object, out: Path | None = None) -> int:
        fixed = ["--out", out or tmp_path / "out", "--processes", 1]
        return main(["prepare-data", *map(str, [*arguments, *fixed])])

    return call


@pytest.fixture
def music(write, tmp_path) -> Path:
    folder = tmp_path / "music"
    write(folder / "good.flac", tone(-14))
    write(folder / "dual.flac", stereo(noise(2, 44100, level=0.05)[:, 0]))
    write(folder / "over.wav", with_inter_sample_peak(tone(-20), 44100, 2.0))
    write(folder / "quiet.wav", tone(-40))
    (folder / "bad.mp3").write_text("no audio")
    return folder


def decisions(out: Path) -> dict[str, str]:
    with (out / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: row["decision"] for row in csv.DictReader(file)}


def test_what_it_prints_and_writes(command, music, tmp_path, capsys):
    assert command(music, "--shards") == 0
    printed = capsys.readouterr().out
    for words in (
        "keep: both stages",
        "too_quiet",
        "integrated loudness too low",
        "5 track(s) measured now",
        "2 shard(s)",
    ):
        assert words in printed
    out = tmp_path / "out"
    summary = " ".join((out / "summary.md").read_text(encoding="utf-8").split())
    assert "## Tracks by decision" in summary and "| too_quiet | integrated loudness too low | 1 |" in summary
    with Image.open(out / "histograms.png") as picture:
        assert min(picture.size) > 400
    names = {"manifest.parquet", "manifest.csv", "summary.md", "histograms.png", "measurements.sqlite", "shards"}
    configs = {f"{stage}{suffix}.json" for stage in ("stage1", "stage2") for suffix in ("", "_shards")}
    assert {path.name for path in out.iterdir()} == names | configs
    assert command(music) == 0
    printed = capsys.readouterr().out
    assert "0 track(s) measured now, 5 known" in printed and "note: the shards are those of an earlier run" in printed


def test_the_defaults_are_the_papers():
    arguments = get_parser("prepare-data").parse_args(["prepare-data", "x", "--out", "y"])
    assert {name: getattr(arguments, name) for name in vars(Rules())} == vars(Rules())


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["--min-loudness=-inf"], {"quiet.wav": "keep"}),
        (["--max-loudness", -15], {"good.flac": "reject"}),
        (["--max-true-peak", 3], {"over.wav": "keep"}),
        (["--no-dual-mono"], {"dual.flac": "reject"}),
        (["--min-seconds", 3], {"dual.flac": "reject"}),
        (["--min-sample-rate", 48000], dict.fromkeys(["good.flac", "dual.flac", "over.wav"], "reject")),
        (["--min-bandwidth", 20000], dict.fromkeys(["good.flac", "over.wav"], "reject")),
        (["--no-duplicates", "--no-require-stereo"], {}),
    ],
)
def test_every_option(options, changed, command, music, tmp_path):
    assert command(music, *options) == 0
    expected = {
        "good.flac": "keep",
        "dual.flac": "keep",
        "over.wav": "stage1",
        "quiet.wav": "reject",
        "bad.mp3": "error",
    }
    assert decisions(tmp_path / "out") == expected | changed


def test_one_source_through_many_doors(command, music, write, tmp_path, monkeypatch):
    """A folder, a file in it, a list and a relative path name the same tracks; a link is another name."""
    (tmp_path / "list.txt").write_text("music/good.flac\n./music/../music/over.wav\n")
    monkeypatch.chdir(tmp_path)
    assert command("music", music / "quiet.wav", "list.txt", "./music") == 0
    assert len(decisions(tmp_path / "out")) == 5
    (music / "link.flac").symlink_to("good.flac")
    (music / "dangling.flac").symlink_to("nowhere.flac")
    assert command("music") == 0
    assert decisions(tmp_path / "out")["link.flac"] == "keep" and len(decisions(tmp_path / "out")) == 6
    assert command("music", "--no-duplicates") == 0
    assert decisions(tmp_path / "out")["link.flac"] == "reject"  # the first by path stays


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", ['a, "b".wav', "two\nlines.wav", "ünïcödé 音楽.wav", " blanks .wav", "-dash.wav"])
def test_odd_names_reach_training(name, command, write, manifest, tmp_path):
    """From the disk through either manifest, as a list of tracks and as a data set, to crops."""
    write(tmp_path / "music" / name, tone(-14))
    assert command(tmp_path / "music") == 0
    for kind in ("csv", "parquet"):
        table = tmp_path / "out" / f"manifest.{kind}"
        assert command(table, out=tmp_path / kind) == 0
        assert manifest(tmp_path / kind) == manifest() and list(manifest()) == [name]
        config = json.loads((tmp_path / "out" / "stage2.json").read_text(encoding="utf-8"))
        config["datasets"][0]["manifest"] = str(table)
        audio, infos = next(iter(create_dataloader(config, 1, 32768, 44100, num_workers=0)))
        assert Path(infos[0]["path"]).name == name and audio.shape == (1, 2, 32768)


def test_the_configs_train_on_what_is_fit(command, music):
    """Stage 1 takes both decisions, stage 2 one; rejected tracks are in neither."""
    assert command(music) == 0
    for stage, expected in (("stage1", {"good.flac", "dual.flac", "over.wav"}), ("stage2", {"good.flac", "dual.flac"})):
        config = json.loads((music.parent / "out" / f"{stage}.json").read_text(encoding="utf-8")) | {"split": "all"}
        loader = create_dataloader(config, 2, 32768, 44100, num_workers=0)
        assert {Path(info["path"]).name for _, infos in loader for info in infos} == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{music}", "--shards", "--shard-rate", "fast"], "--shard-rate takes a rate in Hz or native"),
        (["{music}", "--shard-rate", "native"], "and --shard-size say how shards are written; add --shards"),
        (["{music}", "--shard-size", "100"], "and --shard-size say how shards are written; add --shards"),
        (["{music}", "--shards", "--shard-size", "0"], "--shard-size must be a whole number of MB of at least 1"),
        (["{music}", "--min-loudness", "0"], "the least loudness (0) is above the greatest"),
        (["{music}/nothing"], "no such file or folder"),
        (["{empty}"], "there is no audio file"),
    ],
)
def test_one_line_says_what_is_wrong(arguments, words, command, music, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no list, since it lies in a folder")
    assert command(*(argument.format(music=music, empty=tmp_path / "empty") for argument in arguments)) == 1
    assert words in (error := capsys.readouterr().err) and error.startswith("error: ") and "Traceback" not in error


def test_out_is_a_file(command, music, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert command(music) == 1 and "choose another --out" in capsys.readouterr().err


def test_a_single_fit_track_is_not_split(command, write, tmp_path):
    write(tmp_path / "music" / "a.wav", tone(-14))
    assert command(tmp_path / "music") == 0
    assert json.loads((tmp_path / "out" / "stage1.json").read_text(encoding="utf-8"))["split"] == "all"
