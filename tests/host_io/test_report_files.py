"""Pictures have the promised size and content, audio files the right samples, tables all their text."""

from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

from ear_sat.report.audio import save_audio
from ear_sat.report.plots import save_curves, save_spectrograms
from ear_sat.report.spectrograms import _levels
from ear_sat.report.tables import markdown_table, print_table

RATE = 44100


def tone(hz: float, seconds: float = 1.0) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(int(RATE * seconds)) / RATE)


def pixels(path):
    return (imread(path)[..., :3] * 255).round().astype(int)


def test_report_needs_neither_host_nor_pyplot(tmp_path):
    code = (
        "import sys, torch\n"
        "from ear_sat.report import audio, plots, tables\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plots.save_curves({str(tmp_path / 'a.png')!r}, {{'a': [(0, 1.0)]}}, 'a')\n"
        "assert not {'matplotlib.pyplot', 'stable_audio_tools', 'pytorch_lightning'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("channels", "height"), [(1, 370), (2, 680)])
def test_spectrogram_size(tmp_path, channels, height, names):
    target = tone(1000).expand(channels, -1)
    save_spectrograms(tmp_path / "new" / "a.png", preds=0.5 * target, target=target, sample_rate=RATE)
    picture = pixels(tmp_path / "new" / "a.png")
    assert picture.shape == (height, 1400, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    assert names(tmp_path / "new") == ["a.png"]


def test_a_full_scale_sine_reads_0_dbfs_and_is_where_it_belongs():
    bin_hz = RATE / 2048
    for bin_index in (10, 50, 400):
        levels = _levels(tone(bin_index * bin_hz)[None], RATE)[0][:, 5:-5].mean(axis=1)
        warped = np.log1p(bin_index * bin_hz / 200) / np.log1p(RATE / 2 / 200)
        assert abs(levels.argmax() - warped * len(levels)) <= 2
        assert abs(levels.max()) < 0.01  # dB


def test_equal_signals_have_a_white_difference(tmp_path):
    target = torch.stack([tone(300), tone(3000)])
    save_spectrograms(tmp_path / "same.png", preds=target, target=target, sample_rate=RATE)
    save_spectrograms(tmp_path / "loud.png", preds=2 * target, target=target, sample_rate=RATE)
    same, loud = (pixels(tmp_path / name)[60:300, 960:1280] for name in ("same.png", "loud.png"))
    assert np.ptp(same.reshape(-1, 3), axis=0).max() == 0 and same.min() > 240
    assert (loud[..., 0] > loud[..., 2] + 50).any()  # red
    assert not (loud[..., 2] > loud[..., 0] + 50).any()  # blue


def test_spectrograms_of_odd_signals(tmp_path):
    silent = torch.zeros(1, 100)
    for odd in (silent[:, :1], silent + float("nan"), 1e30 * torch.randn(1, 100)):
        quiet = torch.zeros_like(odd)
        save_spectrograms(tmp_path / "a.png", preds=odd, target=quiet, sample_rate=RATE)
        save_spectrograms(tmp_path / "a.png", preds=quiet, target=odd, sample_rate=RATE)


def test_spectrograms_of_different_shapes(tmp_path):
    with pytest.raises(ValueError, match="must be the same"):
        save_spectrograms(tmp_path / "a.png", torch.zeros(2, 5), torch.zeros(1, 5), RATE)


def test_curves_size_and_marks(tmp_path):
    series = {f"train/loss/{index}": [(step, 1.0 + index) for step in range(5)] for index in range(5)}
    save_curves(tmp_path / "plain.png", series, "run")
    save_curves(tmp_path / "marks.png", series, "run", marks={2: "adversarial"})
    plain, marked = pixels(tmp_path / "plain.png"), pixels(tmp_path / "marks.png")
    assert plain.shape == marked.shape == (543, 1400, 3)  # one heading, two rows
    assert plain.min() < 50 and (plain != 255).any(axis=2).mean() > 0.01

    def orange(picture):
        return (np.abs(picture - (255, 127, 14)).max(axis=2) < 60).sum()

    assert orange(marked) > 200 and orange(plain) == 0


def test_curves_of_odd_series(tmp_path):
    save_curves(tmp_path / "none.png", {}, "run")
    nan, inf = float("nan"), float("inf")
    series = {"a": [], "b": [(0, nan)], "c/d": [(5, inf), (6, 1.0)], "e/f/g": [(0, 0.0)], "h": [(0, 1e-30), (9, 1e30)]}
    save_curves(tmp_path / "odd.png", series, "run", marks={0: "x"})
    assert pixels(tmp_path / "odd.png").min() < 50


def test_failing_picture_leaves_the_old_one(tmp_path, monkeypatch, names):
    save_curves(tmp_path / "a.png", {"a": [(0, 1.0)]}, "run")
    before = (tmp_path / "a.png").read_bytes()

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="No space"):
        save_curves(tmp_path / "a.png", {}, "other")
    assert (tmp_path / "a.png").read_bytes() == before and names(tmp_path) == ["a.png"]


def test_audio_round_trip_and_clipping(tmp_path, names):
    waveform = torch.stack([0.5 * tone(440), -0.25 * tone(220)])
    assert save_audio(tmp_path / "new" / "a.wav", waveform, RATE) == 0
    samples, rate = soundfile.read(tmp_path / "new" / "a.wav", dtype="float32")
    assert rate == RATE and soundfile.info(tmp_path / "new" / "a.wav").subtype == "PCM_24"
    assert np.abs(samples.T - waveform.numpy()).max() <= 2**-23
    loud = torch.tensor([[1.0, -1.0, 1.5, -2.0, float("inf"), float("nan")]], dtype=torch.float16, requires_grad=True)
    assert save_audio(tmp_path / "new" / "a.wav", loud, RATE) == 4
    samples, _ = soundfile.read(tmp_path / "new" / "a.wav")
    np.testing.assert_allclose(samples, [1, -1, 1, -1, 1, 0], atol=2**-22)
    assert names(tmp_path / "new") == ["a.wav"]
    with pytest.raises(ValueError, match="channels, time"):
        save_audio(tmp_path / "b.wav", torch.zeros(5), RATE)


def test_piped_tables_lose_nothing(capsys):
    long = "a/very/long/path/" * 15 + "file.wav"
    columns = ["file", *(f"column_{index}" for index in range(12))]
    print_table(
        "Metrics [of] two", columns, [[long, *range(12)], ["[b]x[/b]", *[None] * 12]], notes=["note " * 40 + "end"]
    )
    out = capsys.readouterr().out
    assert "\x1b" not in out and "…" not in out
    assert "Metrics [of] two" in out and "[b]x[/b]" in out and "n/a" in out
    assert next(line for line in out.splitlines() if long in line).split()[1:] == [str(index) for index in range(12)]
    assert any(line.startswith("note") and line.rstrip().endswith("end") for line in out.splitlines())


def test_tables_check_their_rows(capsys):
    for table in (lambda: print_table("", ["a", "b"], [[1]]), lambda: markdown_table(["a", "b"], [[1]])):
        with pytest.raises(ValueError, match="1 cells under 2 columns"):
            table()
    print_table("", ["a"], [])
    assert "a" in capsys.readouterr().out


def test_markdown_escapes():
    assert markdown_table(["a|b"], [["x\ny"]]) == "| a\\|b |\n| :--- |\n| x y  |"
