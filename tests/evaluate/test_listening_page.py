"""The page of a blind test: its anchors, its names, its sound, and what it does not tell."""

import io
import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from html_page import Page, decoded
from scipy.signal import freqz

from ear_sat.cli.main import main
from ear_sat.listening import page as page_module
from ear_sat.listening.anchors import EDGES_HZ, LOW, MID, anchors, low_pass
from ear_sat.listening.key import Key, draw_names
from ear_sat.metrics import integrated_loudness_lufs
from ear_sat.report.excerpts import flac_uri

RATE = 44100


@pytest.fixture(scope="module")
def folder(tmp_path_factory, noise, write):
    """References and two systems; the second lacks a file."""
    folder = tmp_path_factory.mktemp("listening")
    for index in range(3):
        music = noise(index, 1.0)
        write(folder / "ref" / f"song-{index}.wav", music)
        write(folder / "one" / f"song-{index}.wav", 0.25 * music + 0.01 * noise(50 + index, 1.0))
        if index < 2:
            write(folder / "two" / f"song-{index}.wav", music[:, :1])
    return folder


@pytest.fixture(scope="module")
def arguments(folder):
    systems = [text for name in ("one", "two") for text in ("--estimate", f"system-{name}={folder / name}")]
    return ["evaluate", "--reference", str(folder / "ref"), *systems, "--processes", "1", "--out", str(folder / "out")]


@pytest.fixture(scope="module")
def mushra(arguments, folder):
    assert main([*arguments, "--blind", "mushra"]) == 0
    return (folder / "out" / "mushra.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def abx(arguments, folder):
    assert main([*arguments, "--blind", "abx", "--trials", "5", "--audio", "1"]) == 0
    return (folder / "out" / "abx.html").read_text(encoding="utf-8")


def study_of(text: str) -> dict:
    return json.loads(re.search(r'id="study">(.*?)</script>', text).group(1))


def sounds(text: str) -> dict[str, np.ndarray]:
    """Name on the page → samples."""
    heard = {}
    for audio in Page(text).find("audio"):
        heard[audio["id"]], rate = soundfile.read(io.BytesIO(decoded(audio["src"])), always_2d=True)
        assert rate == RATE
    return heard


@pytest.mark.parametrize(("name", "edge", "stop", "far"), [(LOW, 3500, 4000, 4500), (MID, 7000, 8000, 9000)])
@pytest.mark.parametrize("rate", [44100, 48000])
def test_anchors_meet_the_standard(name, edge, stop, far, rate):
    taps = low_pass(EDGES_HZ[name], rate)
    frequencies, response = freqz(taps, worN=np.arange(0, rate / 2, 5.0), fs=rate)
    level = 20 * np.log10(np.abs(response) + 1e-12)
    assert np.abs(level[frequencies <= edge]).max() <= 0.1
    assert level[frequencies >= stop].max() <= -25 and level[frequencies >= far].max() <= -50
    assert np.allclose(taps, taps[::-1])


def test_anchors_are_in_step_with_the_reference():
    time = torch.arange(RATE) / RATE
    tone = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[1000.0], [5000.0]]) * time)
    middle = slice(2000, -2000)
    made = anchors(tone, RATE)
    assert made[LOW].shape == tone.shape and made[LOW].dtype == tone.dtype
    assert torch.allclose(made[LOW][0, middle], tone[0, middle], atol=1e-3)
    assert made[LOW][1, middle].abs().max() < 1e-3
    assert torch.allclose(made[MID][:, middle], tone[:, middle], atol=1e-3)
    assert anchors(torch.zeros(1, 10), RATE)[MID].shape == (1, 10)  # shorter than the filter


def test_names_tell_nothing_and_are_drawn_by_the_seed():
    clips = {f"song {index}": ["reference", "a", "b", LOW, MID] for index in range(40)}
    key, drawn = draw_names(clips, seed=3)
    assert draw_names(clips, seed=3) == (key, drawn) != draw_names(clips, seed=4)
    assert {key.clips[clip] for clip in drawn} == set(clips)
    names = [name for names in drawn.values() for name in names]
    assert len(set(names) | set(drawn)) == 40 * 6 and all(re.fullmatch("n[0-9a-f]{6}", name) for name in names)
    for row in drawn.values():
        assert sorted(key.versions[name] for name in row) == sorted(clips["song 0"])
    places = [[key.versions[name] for name in row].index("reference") for row in drawn.values()]
    assert set(places) == set(range(5))  # with other seeds it may lack one in 10,000
    assert [key.clips[clip] for clip in drawn] != list(clips)
    assert Key.decode(key.encode()) == key


@pytest.mark.parametrize("text", ["", "?", "bm8=", "W10=", "e30=", "eyJjbGlwcyI6IHt9LCAidmVyc2lvbnMiOiAxfQ=="])
def test_a_damaged_key(text):
    with pytest.raises(ValueError):
        Key.decode(text)


def test_mushra_page(mushra):
    page, study = Page(mushra), study_of(mushra)
    assert study["method"] == "mushra" and study["rate"] == RATE
    assert len(study["clips"]) == 2  # the files that all systems have
    key = Key.decode(study["key"])
    for clip in study["clips"]:
        assert {key.versions[name] for name in clip["versions"]} == {"reference", LOW, MID, "system-one", "system-two"}
    assert {audio["id"] for audio in page.find("audio")} == set(key.versions)
    assert page.find("meta")[2]["content"].startswith("default-src 'none'")
    assert not page.find("link") and "://" not in mushra


def test_nothing_names_a_version_in_clear(mushra, abx):
    for text in (mushra, abx):
        for name in ("system-one", "system-two", "song-", "anchor", "3.5 kHz"):
            assert name not in text


def test_versions_are_equally_loud_and_as_long(mushra, folder):
    key = Key.decode(study_of(mushra)["key"])
    for clip in study_of(mushra)["clips"]:
        heard = {key.versions[name]: sounds(mushra)[name] for name in clip["versions"]}
        loudness = [integrated_loudness_lufs(torch.from_numpy(x.T.copy()), RATE) for x in heard.values()]
        assert max(loudness) - min(loudness) < 0.1
        assert {x.shape for x in heard.values()} == {(RATE, 2)}
        assert max(np.abs(x).max() for x in heard.values()) <= 1
        assert len(heard["reference"]) == pytest.approx(clip["seconds"] * RATE)
        original = soundfile.read(folder / "ref" / f"{key.clips[clip['name']]}.wav")[0]
        middle = slice(1000, -1000)
        gain = (heard["reference"][middle] * original[middle]).sum() / (original[middle] ** 2).sum()
        error = heard["reference"][middle] - gain * original[middle]
        assert np.abs(error).max() < 2 / 32768  # lossless but for rounding and dither


def test_abx_page(abx):
    study = study_of(abx)
    assert (study["method"], study["trials"], len(study["clips"])) == ("abx", 5, 1)
    key = Key.decode(study["key"])
    assert sorted(key.versions.values()) == ["reference", "system-one", "system-two"]


def test_the_same_seed_gives_the_same_page(mushra, arguments, folder):
    assert main([*arguments, "--blind", "mushra"]) == 0
    again = (folder / "out" / "mushra.html").read_text(encoding="utf-8")
    assert again == mushra
    assert main([*arguments, "--blind", "mushra", "--seed", "1"]) == 0
    other = study_of((folder / "out" / "mushra.html").read_text(encoding="utf-8"))
    assert other["id"] != study_of(mushra)["id"]


def test_a_page_that_would_be_too_large_has_fewer_clips(mushra, arguments, folder, monkeypatch, capsys):
    monkeypatch.setattr(page_module, "MAX_BYTES", len(mushra) * 0.6)
    assert main([*arguments, "--blind", "mushra"]) == 0
    assert "1 clip(s) in 5 versions" in capsys.readouterr().out
    assert main([*arguments, "--blind", "mushra", "--audio", "all"]) == 0
    assert "2 clip(s) in 5 versions" in capsys.readouterr().out


def test_flac_is_dithered_alike():
    quiet = torch.full((2, 44100), 0.3 / 32768)
    first, again = (soundfile.read(io.BytesIO(decoded(flac_uri(quiet, RATE))))[0] for _ in range(2))
    assert np.array_equal(first, again)
    middle = first[1000:-1000] * 32768
    assert middle.mean() == pytest.approx(0.3, abs=0.02)  # what rounding alone would take away
    assert np.abs(middle).max() <= 2 and not np.array_equal(first[:, 0], first[:, 1])
    loud = soundfile.read(io.BytesIO(decoded(flac_uri(torch.tensor([[1.0, -1.0] * 5000]), RATE))))[0]
    assert np.abs(loud).max() == pytest.approx(1, abs=1e-3)
    assert all(math.copysign(1, a) != math.copysign(1, b) for a, b in pairwise(loud[400:-400]))  # no wrapping round


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trials", "8"], "--trials is for --blind abx"),
        (["--blind", "mushra", "--trials", "8"], "--trials is for --blind abx"),
        (["--blind", "mushra", "--audio", "none"], "--blind needs clips to listen to"),
        (["--blind", "abx", "--audio", "0"], "--blind needs clips to listen to"),
        (["--blind", "mushra", "--estimate", "anchor 7 kHz=REF"], "is the name of an anchor"),
        (
            ["--blind", "mushra", *(text for i in range(9) for text in ("--estimate", f"s{i}=REF"))],
            "takes up to 9 systems, not 10",
        ),
    ],
)
def test_user_errors(tmp_path, noise, write, capsys, more, message):
    reference = str(write(tmp_path / "a.wav", noise(0, 0.1)))
    given = ["evaluate", "--reference", reference, "--estimate", f"x={reference}", "--out", str(tmp_path / "out")]
    assert main([*given, *(text.replace("REF", reference) for text in more)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_blind_needs_music(tmp_path, noise, write, capsys):
    weights = write(tmp_path / "a.wav", noise(0, 0.1))
    given = ["evaluate", "--weights", str(weights), "--test-tones", "--blind", "abx", "--out", str(tmp_path / "out")]
    assert main(given) == 1
    assert "--blind needs music" in capsys.readouterr().err


def test_no_file_that_all_systems_have(tmp_path, noise, write, capsys):
    for name, systems in (("a", ("x",)), ("b", ("y",))):
        for place in ("ref", *systems):
            write(tmp_path / place / f"{name}.wav", noise(0, 0.3))
    systems = [text for name in ("x", "y") for text in ("--estimate", f"{name}={tmp_path / name}")]
    given = ["evaluate", "--reference", str(tmp_path / "ref"), *systems, "--processes", "1", "--audio", "1"]
    assert main([*given, "--out", str(tmp_path / "out"), "--blind", "abx"]) == 1
    assert "a file that all systems have" in capsys.readouterr().err
    assert not (tmp_path / "out" / "abx.html").exists()
