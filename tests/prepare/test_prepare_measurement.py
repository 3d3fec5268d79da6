"""What is measured of a file, and what becomes of files that are not what they should be."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from prepare_test_signals import noise, sine, stereo, tone, with_inter_sample_peak

from ear_sat.prepare import measure_track
from ear_sat.prepare.manifest import COLUMNS

RATES = (22050, 32000, 44100, 48000, 96000)
TRAIN = Path(__file__).parents[2].parent / "shared" / "audio" / "train"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("lufs", [-30, -22, -14, -8, -5, -2])
def test_known_loudness(rate, lufs, write, tmp_path):
    row = measure_track(str(write(tmp_path / "tone.wav", tone(lufs, 1.0, rate), rate)))
    assert row["loudness_lufs"] == pytest.approx(lufs, abs=0.1)
    assert row["true_peak_dbtp"] == pytest.approx(row["sample_peak_dbfs"], abs=0.2)
    assert (row["sample_rate"], row["channels"], row["frames"], row["duration"]) == (rate, 2, rate, 1.0)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_known_loudness_of_layouts(channels, write, tmp_path):
    row = measure_track(str(write(tmp_path / "tone.wav", tone(-14, 1.0, channels=channels))))
    assert row["loudness_lufs"] == pytest.approx(-14, abs=0.1)
    assert row["channels"] == channels and (row["dual_mono"] is None) == (channels != 2)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("peak", [-1.0, 0.5, 1.5, 2.5])
def test_known_inter_sample_peaks(rate, peak, write, tmp_path):
    """The samples themselves stay 3 dB below, so that no bound on samples would find them."""
    signal = with_inter_sample_peak(tone(-20, 2.0, rate), rate, peak)
    row = measure_track(str(write(tmp_path / "over.wav", signal, rate)))
    assert row["true_peak_dbtp"] == pytest.approx(peak, abs=0.2)
    assert row["sample_peak_dbfs"] == pytest.approx(peak - 3.01, abs=0.05)


def test_every_column_but_the_decision_is_measured(write, tmp_path):
    row = measure_track(str(write(tmp_path / "tone.flac", tone(-14))))
    assert set(COLUMNS) - set(row) == {"decision", "reason"}
    assert row["container"] == "FLAC" and row["encoding"] == "PCM_24" and row["error"] is None
    assert row["bytes"] == (tmp_path / "tone.flac").stat().st_size


def test_silence(write, tmp_path):
    row = measure_track(str(write(tmp_path / "silence.wav", np.zeros((88200, 2)))))
    undefined = ("loudness_lufs", "loudness_range_lu", "true_peak_dbtp", "sample_peak_dbfs", "mid_side_ratio_db")
    assert all(row[name] is None for name in (*undefined, "bandwidth_hz", "dual_mono"))
    assert row["silence_share"] == 1 and row["error"] is None and row["dc"] == 0


def test_share_of_silence(write, tmp_path):
    """A second at −20 dBFS and three at −70: below −60 dBFS is silence."""
    levels = np.repeat([1.0, 10**-2.5, 10**-2.5, 10**-2.5], 44100)[:, None]
    row = measure_track(str(write(tmp_path / "pause.wav", tone(-20, 4.0) * levels)))
    assert row["silence_share"] == pytest.approx(0.75)


def test_dc_of_the_worse_channel(write, tmp_path):
    row = measure_track(str(write(tmp_path / "dc.wav", tone(-20) + np.array([0.01, -0.2]))))
    assert row["dc"] == pytest.approx(-0.2, abs=1e-4)
    assert row["loudness_lufs"] == pytest.approx(-20, abs=0.1)  # the high-pass takes it out


def test_clipped_runs(write, tmp_path):
    """A tone of 100 Hz 6 dB too loud is cut off at both ends of each of its periods, in both channels."""
    clipped = np.clip(stereo(sine(6.0, 1.0, 44100, 100.0)), -1, 1)
    row = measure_track(str(write(tmp_path / "clipped.wav", clipped, subtype="PCM_16")))
    assert row["clipped_runs"] == 2 * 2 * 100
    row = measure_track(str(write(tmp_path / "loud.wav", 0.49 * clipped, subtype="PCM_16")))
    assert row["clipped_runs"] == 0


@pytest.mark.parametrize(("side", "dual"), [(0.0, True), (1e-4, True), (3e-2, False), (1.0, False)])
def test_dual_mono(side, dual, write, tmp_path):
    mid = noise(1.0, 44100)[:, 0]
    apart = side * noise(1.0, 44100, seed=1)[:, 0]
    row = measure_track(str(write(tmp_path / "mono.wav", stereo(mid + apart, mid - apart))))
    assert row["dual_mono"] is dual
    assert row["mid_side_ratio_db"] == pytest.approx(-20 * math.log10(side) if side else 120, abs=0.1)


def test_side_only(write, tmp_path):
    left = noise(1.0, 44100)[:, 0]
    row = measure_track(str(write(tmp_path / "side.wav", stereo(left, -left))))
    assert row["mid_side_ratio_db"] == -120 and row["dual_mono"] is False


@pytest.mark.parametrize("seconds", [0.0001, 0.3, 1.0])
def test_short_files(seconds, write, tmp_path):
    row = measure_track(str(write(tmp_path / "short.wav", tone(-14, seconds))))
    assert row["error"] is None and row["frames"] == round(seconds * 44100)
    assert (row["loudness_lufs"] is None) == (seconds < 0.4) and row["loudness_range_lu"] is None


@pytest.mark.parametrize("options", [{}, {"format": "WAVEX"}, {"format": "RF64"}, {"subtype": "FLOAT"}])
def test_truncated_wav(options, write, tmp_path):
    """libsndfile corrects the length of a file that lost its end without a word."""
    path = write(tmp_path / "cut.wav", tone(-14), **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    row = measure_track(str(path))
    assert "truncated: it ends at frame" in row["error"] and "header promises 176" in row["error"]
    assert "loudness_lufs" not in row and row["sample_rate"] == 44100 and row["frames"] is None


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".aiff"])
def test_truncated_files_of_other_formats(suffix, write, tmp_path):
    path = write(tmp_path / f"cut{suffix}", noise(4, 44100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert "truncated" in measure_track(str(path))["error"]


def test_a_streamed_wav_is_not_truncated(write, tmp_path):
    """Programs that write to a pipe do not know the length and put the greatest."""
    path = write(tmp_path / "pipe.wav", tone(-14), subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    row = measure_track(str(path))
    assert row["error"] is None and row["frames"] == 4 * 44100


def test_what_follows_the_audio_does_not_matter(write, tmp_path):
    path = write(tmp_path / "tagged.wav", tone(-14))
    path.write_bytes(path.read_bytes() + b"TAG" * 100)
    assert measure_track(str(path))["error"] is None


@pytest.mark.parametrize(("name", "container"), [("flac.wav", "FLAC"), ("wav.mp3", "WAV"), ("mp3.flac", "MP3")])
def test_mislabelled_files_are_measured_as_what_they_are(name, container, write, tmp_path):
    path = write(tmp_path / f"song.{container.lower()}", tone(-14)).rename(tmp_path / name)
    row = measure_track(str(path))
    assert row["error"] is None and row["container"] == container
    assert row["loudness_lufs"] == pytest.approx(-14, abs=0.2)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "the file is empty"),
        (b"<html>404 not found</html>" * 99, "not readable as audio"),
        (b"RIFF" + bytes(8), "not readable as audio"),
        (None, "not readable"),
    ],
)
def test_what_is_no_audio(content, error, tmp_path):
    path = tmp_path / "song.mp3"
    if content is not None:
        path.write_bytes(content)
    row = measure_track(str(path))
    assert row["error"].startswith(error)
    assert str(tmp_path) not in row["error"]


def test_no_samples_and_odd_layouts(write, tmp_path):
    assert measure_track(str(write(tmp_path / "none.wav", np.zeros((0, 2)))))["error"] == "it holds no samples"
    error = measure_track(str(write(tmp_path / "quad.wav", np.zeros((100, 4)))))["error"]
    assert error.startswith("it has 4 channels and does not say where they belong; mono, stereo and 5.1 are supported")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite(value, write, tmp_path):
    signal = tone(-14)
    signal[70000, 1] = value
    row = measure_track(str(write(tmp_path / "nan.wav", signal, subtype="FLOAT")))
    assert row["error"] == "it has NaN or infinite samples"


def test_an_unforeseen_failure_is_a_row_too(monkeypatch, write, tmp_path):
    monkeypatch.setattr("ear_sat.prepare.measurement.StereoMeter", lambda: 1 / 0)
    row = measure_track(str(write(tmp_path / "tone.wav", tone(-14))))
    assert row["error"] == "ZeroDivisionError: division by zero"


def test_decoders_are_silenced_and_standard_error_comes_back(capfd, write, tmp_path):
    path = write(tmp_path / "cut.mp3", noise(2, 44100))
    path.write_bytes(path.read_bytes()[:-10000])
    assert measure_track(str(path))["error"] is not None
    assert capfd.readouterr().err == ""


def test_real_music():
    if not TRAIN.is_dir():
        pytest.skip("needs shared/audio, real music that is not part of the repository")
    row = measure_track(str(TRAIN / "zh_104.mp3"))
    samples, _ = soundfile.read(TRAIN / "zh_104.mp3")
    assert row["frames"] == len(samples) and row["error"] is None
    assert row["sample_peak_dbfs"] == pytest.approx(20 * math.log10(np.abs(samples).max()), abs=1e-5)
    assert row["loudness_lufs"] == pytest.approx(-14.2, abs=0.1)  # ffmpeg ebur128: see tests/metrics
    assert 17500 < row["bandwidth_hz"] < 18500  # this encoder's low-pass
