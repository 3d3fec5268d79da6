"""The page stands alone, is well-formed, small, honest about names, and its pictures and sounds are what they say."""

import io
import json
import math

import numpy as np
import pytest
import soundfile
import torch
from html_page import Page, decoded
from PIL import Image

from ear_sat.evaluate import report as report_module
from ear_sat.evaluate.clips import choose_clips, render_clip
from ear_sat.evaluate.excerpt import EXCERPT_SECONDS
from ear_sat.evaluate.measure import PairResult
from ear_sat.report.excerpts import matched_gains_db, mp3_uri
from ear_sat.report.pictures import (
    difference_picture,
    goniometer_picture,
    mean_levels,
    phase_error_picture,
    spectrogram_picture,
)
from ear_sat.report.strips import strip_plot

RATE = 44100


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(decoded(uri))))


@pytest.fixture(scope="module")
def report(tmp_path_factory, noise, write):
    """The folder of an evaluation of two systems, one with a hostile name, and its page as text."""
    from ear_sat.cli.main import main

    folder = tmp_path_factory.mktemp("report")
    for index in range(3):
        music = noise(index, 1.0)
        write(folder / "ref" / f"<b>song {index}.wav", music)
        write(folder / "good" / f"<b>song {index}.wav", music + 0.01 * (index + 1) * noise(50, 1.0))
        write(folder / "bad" / f"<b>song {index}.wav", 0.5 * music)
    write(folder / "ref" / "lonely.wav", noise(9, 0.1))
    code = main(
        [
            *("evaluate", "--reference", str(folder / "ref"), "--out", str(folder / "out"), "--processes", "1"),
            *("--estimate", f"good={folder / 'good'}", "--estimate", f"<script>x={folder / 'bad'}", "--paper-table"),
        ]
    )
    assert code == 0
    return folder / "out", (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_page_is_well_formed_and_alone(report):
    page = Page(report[1])
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "data"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value or (tag == "a" and name == "href"), (tag, value)
    assert not page.find("link")
    outside_anchors = "".join(part for part in report[1].split("data:"))
    assert "http://" not in outside_anchors and "https://" not in outside_anchors
    assert "@import" not in report[1] and "url(" not in report[1]
    policy = page.find("meta")[2]["content"]
    assert policy.startswith("default-src 'none'")
    assert len(report[1]) < 30e6


def test_links_lead_somewhere(report):
    page = Page(report[1])
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    targets = {attributes["href"][1:] for attributes in page.find("a") if attributes["href"].startswith("#")}
    assert targets <= ids and {"summary", "distributions", "clips", "files", "notes", "method"} <= targets


def test_names_are_escaped(report):
    page = Page(report[1])
    assert len(page.find("script")) == 1 and not page.find("b")
    assert "<script>x" in "".join(page.text)


def test_every_metric_has_unit_direction_and_description(report):
    data = json.loads((report[0] / "results.json").read_text(encoding="utf-8"))
    page = Page(report[1])
    titles = [attributes["title"] for attributes in page.find("span", **{"class": "metric"})]
    for name, metric in data["metrics"].items():
        assert f"{name}: {metric['description']}" in titles
        assert report[1].index("Frozen metrics") < report[1].index("Additional metrics")
    assert "do not compare strictly" in report[1]


def test_players_for_every_clip_and_version(report):
    page = Page(report[1])
    clips = page.find("article")
    assert len(clips) == 3
    assert len(page.find("audio")) == 3 * 3 and len(page.find("button", role="radio")) == 3 * 3
    for audio in page.find("audio"):
        samples, rate = soundfile.read(io.BytesIO(decoded(audio["src"])))
        assert rate == RATE and len(samples) <= (EXCERPT_SECONDS + 0.1) * RATE
    gains = [float(button["data-gain"]) for button in page.find("button", role="radio")]
    assert gains[2] - gains[0] == pytest.approx(20 * math.log10(2), abs=0.02)  # the version at half the amplitude
    assert page.find("input", id="matched")
    kinds = [image["alt"].partition(":")[0].partition(",")[0] for image in page.find("img") if image["alt"]]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
        "Spectrogram": 9,
        "Goniometer": 9,
        "Estimate − target": 6,
        "Phase error": 6,
    }


def test_dots_and_marks(report):
    page = Page(report[1])
    values = json.loads((report[0] / "results.json").read_text(encoding="utf-8"))
    shown = sum("class" in c and c["class"].startswith("dot") for _, c in page.tags if _ == "circle")
    octaves = [name for name in values["metrics"] if name.startswith("si_sdr_") and "hz" in name]
    defined = sum(
        file["values"][name] is not None
        for file in values["files"]
        for name in values["metrics"]
        if name not in octaves
    )
    points = sum(
        values["summaries"][name][system]["mean"] is not None for name in octaves for system in values["systems"]
    )
    assert shown == defined + points
    best = [a for _, a in page.tags if a.get("class") == "best"]
    assert len(best) >= len(values["metrics"]) / 2


def test_audio_options(tmp_path, noise, write, evaluate_command, monkeypatch):
    for index in range(4):
        write(tmp_path / "ref" / f"{index}.wav", noise(index, 0.4))
    arguments = ("--reference", tmp_path / "ref", "--estimate", f"x={tmp_path / 'ref'}", "--out", tmp_path / "out")

    def counts(option: str) -> tuple[int, int, int]:
        assert evaluate_command(*arguments, "--audio", option) == 0
        page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
        return len(page.find("article")), len(page.find("audio")), len(page.find("img"))

    pictures = 2 + 4  # reference: spectrogram, goniometer; estimate: four
    dialog = 1
    assert counts("none") == (4, 0, 4 * pictures + dialog)
    assert counts("2") == (2, 4, 2 * pictures + dialog)
    assert counts("0") == (0, 0, dialog)
    monkeypatch.setattr(report_module, "DEFAULT_CLIPS", 3)
    assert counts("all") == (4, 8, 3 * pictures + dialog)
    one = (
        sum(
            len(part) for part in (tmp_path / "out" / "report.html").read_text(encoding="utf-8").split('src="data:')[1:]
        )
        / 4
    )
    monkeypatch.setattr(report_module, "MAX_CLIP_BYTES", 2.5 * one)
    clips, _, _ = counts("4")
    assert 1 <= clips < 4
    assert "larger than 30 MB" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_worst_and_best_of_every_system_in_turn():
    def result(file: str, system: str, value: float) -> PairResult:
        return PairResult(file, system, "", "", {"m": value}, seconds=1.0)

    values = {"a": {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5}, "b": {"1": 5, "2": 4, "3": 1, "4": 3, "5": math.nan}}
    results = [result(file, system, value) for system, row in values.items() for file, value in row.items()]
    two = choose_clips(results, ["a", "b"], "m", True, 2)
    assert {choice.file for choice in two} == {"1", "3"}  # the worst of each
    three = {choice.file: choice.reasons for choice in choose_clips(results, ["a", "b"], "m", True, 3)}
    assert three.keys() == {"1", "3", "5"}
    assert three["1"] == ("worst of a", "best of b") and three["5"] == ("best of a",)
    lower = {choice.file: choice.reasons for choice in choose_clips(results, ["a", "b"], "m", False, 5)}
    assert lower["1"] == ("worst of b", "best of a") and len(lower) == 5
    assert choose_clips([], ["a"], "m", True, 12) == []


def test_excerpt_lies_where_the_errors_are(tmp_path, noise, write):
    music = np.tile(noise(0, 5.0), (5, 1))  # 25 s
    coded = music.copy()
    coded[17 * RATE : 18 * RATE] *= 0.2
    reference = write(tmp_path / "a.wav", music)
    clip = render_clip("a", reference, {"x": write(tmp_path / "b.wav", coded)}, False, audio=True, pictures=False)
    assert clip.seconds == EXCERPT_SECONDS and clip.start <= 17 and clip.start + clip.seconds >= 18
    assert clip.versions[1].spectrogram is None and clip.versions[1].audio is not None
    late = write(tmp_path / "late.wav", np.concatenate([np.zeros((4410, 2), np.float32), coded]))
    shifted = render_clip("a", reference, {"x": late}, True, audio=False, pictures=True)
    assert shifted.start == pytest.approx(clip.start, abs=0.2)


def test_matched_versions_are_equally_loud_and_never_clip():
    loudness, peaks = [-20.0, -14.0, -35.0], [-6.0, -0.1, -3.0]  # the last: quiet, with high peaks
    gains = matched_gains_db(loudness, peaks)
    assert [level + gain for level, gain in zip(loudness, gains, strict=True)] == pytest.approx([-32.0] * 3)
    assert max(peak + gain for peak, gain in zip(peaks, gains, strict=True)) <= 1e-9
    assert matched_gains_db([math.nan, math.nan], [-99.0, -99.0]) == [0.0, 0.0]


def test_mp3_holds_the_music():
    time = torch.arange(2 * RATE) / RATE
    tone = 0.5 * torch.stack([torch.sin(2 * torch.pi * 440 * time), torch.sin(2 * torch.pi * 660 * time)])
    samples, rate = soundfile.read(io.BytesIO(decoded(mp3_uri(tone, RATE))))
    middle = slice(RATE // 2, RATE)
    assert rate == RATE
    assert np.sqrt((samples[middle] ** 2).mean(0)) == pytest.approx([0.5 / math.sqrt(2)] * 2, rel=0.02)
    with pytest.raises(ValueError, match="cannot write"):
        mp3_uri(tone, 12345)
    assert len(mp3_uri(torch.zeros(1, 1), RATE)) > 50


def test_pictures_show_what_happened(noise):
    target = torch.from_numpy(noise(0, 2.0).T.copy())
    level = mean_levels(target, RATE)
    top = 5.0
    assert pixels(spectrogram_picture(level, top)).shape == (*level.shape, 3)
    loud = pixels(difference_picture(level + 10, level, top))
    quiet = pixels(difference_picture(level - 10, level, top))
    assert loud[..., 0].mean() > loud[..., 2].mean() + 80 and quiet[..., 2].mean() > quiet[..., 0].mean() + 80
    same = pixels(difference_picture(level, level, top))
    assert same.shape[-1] == 3 or same[..., 3].max() <= 2  # fully clear
    in_phase = pixels(phase_error_picture(target, target, RATE, top)).mean()
    flipped = pixels(phase_error_picture(-target, target, RATE, top)).mean()
    assert flipped > 2 * in_phase


def test_goniometer_directions():
    wave = torch.sin(torch.arange(5000) * 0.01)

    def centre_of_upper_half(left: torch.Tensor, right: torch.Tensor) -> float:
        """Where the upper half's ink is, from −1 (left edge) to 1."""
        picture = goniometer_picture(torch.stack([left, right]), 2.0)
        assert picture is not None
        ink = pixels(picture)[:100, :, 3].astype(float).sum(0)
        return float((ink * np.linspace(-1, 1, len(ink))).sum() / ink.sum())

    assert centre_of_upper_half(wave, wave) == pytest.approx(0, abs=0.02)  # mono: upright
    assert centre_of_upper_half(wave, 0 * wave) < -0.1 < 0.1 < centre_of_upper_half(0 * wave, wave)
    assert goniometer_picture(wave[None], 1.0) is None


def test_pictures_of_silence_and_of_one_sample():
    for signal in (torch.zeros(2, 1), torch.zeros(2, 5000), torch.zeros(1, 300)):
        level = mean_levels(signal, RATE)
        assert np.isfinite(level).all()
        for picture in (
            spectrogram_picture(level, -40),
            difference_picture(level, level, -40),
            phase_error_picture(signal, signal, RATE, -40),
        ):
            assert pixels(picture).size


def test_strips_place_values_on_a_common_axis():
    plot = strip_plot({"a": {str(i): float(i) for i in range(11)}, "b": {"x": 5.0, "far": 500.0, "none": math.nan}})
    a, b = plot.strips
    assert a.count == 11 and b.count == 2 and b.box is None
    places = {dot.label: dot.x for dot in a.dots}
    assert places["0"] < places["5"] < places["10"] and places["5"] == pytest.approx(a.box[1])
    assert {dot.label: dot.outside for dot in b.dots} == {"x": False, "far": False}  # two values have no outlier
    far = strip_plot({"a": {**{str(i): float(i) for i in range(11)}, "far": 1e6, "inf": math.inf}}).strips[0]
    assert {dot.label for dot in far.dots if dot.outside} == {"far", "inf"}
    assert [dot.x for dot in far.dots if dot.outside] == [1.0, 1.0]


def test_strips_of_many_values_and_of_none():
    many = strip_plot({"a": {str(i): float(i) for i in range(5000)}}).strips[0]
    assert many.count == 5000 and len(many.dots) == 300
    assert {dot.label for dot in many.dots} >= {"0", "4999"}
    for values in ({}, {"x": math.nan}):
        empty = strip_plot({"a": values})
        assert empty.strips[0].count == 0 and empty.ticks
    flat = strip_plot({"a": {"x": 0.0, "y": 0.0}})
    assert {dot.x for dot in flat.strips[0].dots} == {0.5}
