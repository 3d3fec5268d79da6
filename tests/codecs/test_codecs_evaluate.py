"""``ear-sat evaluate --codec``: reconstructed, measured, and what each costs in every file of results."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ear_sat.cli.main import main
from ear_sat.evaluate.rates import COLUMNS

Saved = Callable[[str], tuple[Any, Path]]


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Two files, a stereo one and a mono one."""
    rng = np.random.default_rng(0)
    for name, channels in (("two", 2), ("album/one", 1)):
        path = tmp_path / "music" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.3 * rng.standard_normal((22050, channels)), 44100, "FLOAT")
    return tmp_path / "music"


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--processes", "1", "--audio", "none", "--device", "cpu"])


def results(out: Path) -> Any:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_two_codecs(music: Path, tmp_path: Path, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    dac, encodec = saved("dac")[1], saved("encodec_48khz")[1]
    out = tmp_path / "out"
    arguments = ("--reference", music, "--codec", f"mono={dac}", "--codec", f"{encodec}:1.6", "--out", out)
    assert evaluate(*arguments, "--paper-table") == 0
    printed = capsys.readouterr().out
    found = results(out)["systems"]
    assert list(found) == ["mono", "encodec_48khz_1.6kbps"] and all(s["measured"] == 2 for s in found.values())
    assert found["mono"]["codec"]["kbit_per_s"] == pytest.approx(12)
    assert found["encodec_48khz_1.6kbps"]["codec"]["kbit_per_s"] == pytest.approx(1.6)
    assert all(system["codec"]["times_real_time"] > 0 for system in found.values())
    for text in (printed, *((out / name).read_text(encoding="utf-8") for name in ("results.md", "report.html"))):
        assert all(heading in text for heading in COLUMNS.values())
        assert "this run" in text and "AudioGen codec" in text and "channel by channel" in text
    rows = list(csv.DictReader((out / "results.csv").open(encoding="utf-8")))
    assert {(row["system"], row["codebooks"], row["values_per_s"]) for row in rows} == {
        ("mono", "3", ""),
        ("encodec_48khz_1.6kbps", "1", ""),
    }
    # As long and wide as the music, and not made again.
    files = sorted((out / "reconstructions").rglob("*.wav"))
    assert len(files) == 4 and soundfile.info(files[0]).frames == 22050 and soundfile.info(files[0]).samplerate == 44100
    before = [file.stat().st_mtime_ns for file in files]
    assert evaluate(*arguments) == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    assert results(out)["systems"] == found  # the time of the first run is kept


def test_one_file_and_a_codec_of_its_own_name(
    music: Path, tmp_path: Path, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    dac = saved("dac")[1]
    out = tmp_path / "out"
    assert evaluate("--reference", music / "two.wav", "--codec", dac, "--out", out) == 0
    assert results(out)["systems"]["dac"]["measured"] == 1
    assert evaluate("--reference", music, "--codec", dac, "--codec", dac, "--out", out) == 1
    assert "dac names two systems; give --codec" in capsys.readouterr().err


def test_systems_that_are_no_codecs_have_no_costs(music: Path, tmp_path: Path, saved: Saved) -> None:
    out = tmp_path / "out"
    options = ("--estimate", f"same={music}", "--codec", saved("dac")[1], "--out", out)
    assert evaluate("--reference", music, *options) == 0
    found = results(out)
    assert "codec" not in found["systems"]["same"] and "codec" in found["systems"]["dac"]
    rows = list(csv.DictReader((out / "results.csv").open(encoding="utf-8")))
    assert {row["parameters"] for row in rows if row["system"] == "same"} == {""}
    assert "<h2>Codecs</h2>" in (out / "report.html").read_text(encoding="utf-8")


def merge(tmp_path: Path, *parts: str) -> int:
    folders = [tmp_path / part for part in parts]
    return main(["evaluate", "--merge", *map(str, folders), "--out", str(tmp_path / "merged"), "--audio", "none"])


def test_merging_keeps_the_rates(music: Path, tmp_path: Path, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    """Two machines with the same codec; the time is that of all work, whose seconds differ."""
    dac = saved("dac")[1]
    rng = np.random.default_rng(1)
    (tmp_path / "more").mkdir()
    soundfile.write(tmp_path / "more" / "long.wav", 0.3 * rng.standard_normal((66150, 2)), 44100, "FLOAT")
    for part, folder in (("a", music), ("b", tmp_path / "more")):
        assert evaluate("--reference", folder, "--codec", f"x={dac}", "--out", tmp_path / part) == 0
    one, other = (results(tmp_path / part)["systems"]["x"]["codec"] for part in "ab")
    assert (one["timed_seconds"], other["timed_seconds"]) == (1, 1.5)
    capsys.readouterr()
    assert merge(tmp_path, "a", "b") == 0
    found = results(tmp_path / "merged")["systems"]["x"]["codec"]
    work = 1 / one["times_real_time"] + 1.5 / other["times_real_time"]
    expected = {"times_real_time": pytest.approx(2.5 / work), "timed_seconds": 2.5}
    assert found == one | expected
    texts = [(tmp_path / "merged" / name).read_text(encoding="utf-8") for name in ("results.md", "report.html")]
    assert all("× real time" in text and "kbit/s" in text for text in (capsys.readouterr().out, *texts))
    rows = list(csv.DictReader((tmp_path / "merged" / "results.csv").open(encoding="utf-8")))
    assert [(row["file"], row["codebooks"], float(row["kbit_per_s"])) for row in rows] == [
        (file, "3", pytest.approx(12)) for file in ("album/one", "long", "two")
    ]


def test_merging_two_codecs_of_one_name(
    music: Path, tmp_path: Path, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    encodec = saved("encodec_48khz")[1]
    for part, rate in (("a", "1.6"), ("b", "3.2")):
        assert evaluate("--reference", music, "--codec", f"x={encodec}:{rate}", "--out", tmp_path / part) == 0
    assert merge(tmp_path, "a", "b") == 1
    assert "hold different codecs under the name x (codebooks: 1 and 2)" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()


def test_merging_other_devices(music: Path, tmp_path: Path, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    dac = saved("dac")[1]
    for part in "ab":
        assert evaluate("--reference", music, "--codec", f"x={dac}", "--out", tmp_path / part) == 0
    rows = tmp_path / "b" / "rows" / "0.jsonl"
    rows.write_text(rows.read_text(encoding="utf-8").replace('"device": "cpu"', '"device": "cuda:0"'), encoding="utf-8")
    capsys.readouterr()
    assert merge(tmp_path, "a", "b") == 0
    assert "x was computed on cpu and on cuda:0, so that there is no one × real time" in capsys.readouterr().out
    codec = results(tmp_path / "merged")["systems"]["x"]["codec"]
    assert codec["times_real_time"] is None and codec["kbit_per_s"] == pytest.approx(12)


def test_merging_what_runs_in_one_folder_measured(music: Path, tmp_path: Path, saved: Saved) -> None:
    """One system after the other into the same folder; and a cost that only a run without measurements knows."""
    dac = saved("dac")[1]
    assert evaluate("--reference", music, "--codec", f"x={dac}", "--out", tmp_path / "a") == 0
    (made,) = (tmp_path / "a" / "reconstructions").iterdir()
    assert evaluate("--reference", music, "--estimate", f"y={made}", "--out", tmp_path / "a") == 0
    assert merge(tmp_path, "a") == 0
    found = results(tmp_path / "merged")
    assert list(found["systems"]) == ["x", "y"] and found["summaries"]["si_sdr_db"]["x"]["files"] == 2
    assert "codec" in found["systems"]["x"] and "codec" not in found["systems"]["y"]
    rows = tmp_path / "a" / "rows" / "0.jsonl"
    lines = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line.get("run", {}).pop("codecs", None)  # as if --estimate x=… had measured
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for _ in range(2):
        assert evaluate("--reference", music, "--codec", f"x={dac}", "--out", tmp_path / "a") == 0
    assert len(rows.read_text(encoding="utf-8").splitlines()) == len(lines) + 1  # said once
    assert merge(tmp_path, "a") == 0
    assert results(tmp_path / "merged")["systems"]["x"]["codec"]["codebooks"] == 3
