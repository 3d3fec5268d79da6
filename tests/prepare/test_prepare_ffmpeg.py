"""What is measured of tracks, against ffmpeg's ebur128, where ffmpeg is installed."""

import numpy as np
import pytest
import soundfile
from prepare_test_signals import noise, sine, stereo, tone, with_inter_sample_peak
from scipy.signal import butter, sosfilt

from ear_sat.prepare import measure_track

RATES = (22050, 32000, 44100, 48000, 96000)


def faded(signal: np.ndarray, frames: int = 4410) -> np.ndarray:
    """ffmpeg drops the last millisecond, and with it the peak of an abrupt end."""
    places = np.arange(len(signal))
    return signal * np.minimum(1, np.minimum(places, places[::-1]) / frames)[:, None]


@pytest.fixture
def check(ebur128):

    def check_track(path) -> None:
        theirs = ebur128(path)
        row = measure_track(str(theirs.heard))
        assert row["error"] is None
        theirs.check(row["loudness_lufs"], row["loudness_range_lu"], row["true_peak_dbtp"])

    return check_track


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("lufs", [-30, -22, -14, -5, -2])
def test_levels(rate, lufs, check, write, tmp_path):
    check(write(tmp_path / "tone.wav", tone(lufs, rate=rate), rate))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("peak", [-1.0, 0.5, 1.5, 3.0])
def test_inter_sample_peaks(rate, peak, check, write, tmp_path):
    check(write(tmp_path / "over.wav", with_inter_sample_peak(tone(-20, rate=rate), rate, peak), rate))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", RATES)
def test_layouts(channels, rate, check, write, tmp_path):
    """Every channel plays something else, the LFE too."""
    signal = np.hstack([faded(0.1 * (part + 1) * noise(4, rate, part)) for part in range(3)])[:, :channels]
    low_pass = butter(4, 0.2 * rate, fs=rate, output="sos")
    check(write(tmp_path / "layout.wav", sosfilt(low_pass, signal, axis=0), rate, format="WAVEX"))


@pytest.mark.parametrize(
    "signal",
    [
        faded(tone(-14) + 0.3),
        faded(np.clip(stereo(sine(12.0, 4.0, 44100, 100.0)), -1, 1)),
        faded(stereo(noise(4, 44100)[:, 0])),
        faded(np.vstack([np.zeros((44100, 2)), tone(-14), np.zeros((44100, 2))])),
    ],
    ids=["dc", "clipped", "dual mono", "silence around"],
)
def test_faults(signal, check, write, tmp_path):
    check(write(tmp_path / "fault.wav", signal))


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg"])
def test_formats(suffix, check, tmp_path):
    """Lossy decoders differ a little."""
    path = tmp_path / f"song.{suffix}"
    low_pass = butter(4, 8000, fs=44100, output="sos")
    soundfile.write(path, sosfilt(low_pass, faded(noise(6, 44100)), axis=0), 44100)
    check(path)
