"""The signals of EBU Tech 3341 and 3342, written to files and measured as any track: the values stated there."""

import numpy as np
import pytest
from prepare_test_signals import sine, stereo

from ear_sat.prepare import measure_track

RATE = 48000


def steps(*parts: tuple[float, float], frequency: float = 1000.0) -> np.ndarray:
    """A tone in levels: (dBFS, seconds) one after the other, the same in both channels."""
    return stereo(np.concatenate([sine(level, seconds, RATE, frequency) for level, seconds in parts]))


LOUDNESS = {  # Tech 3341, table 1: I in LUFS ± 0.1
    "1": (steps((-23, 20)), -23.0),
    "2": (steps((-33, 20)), -33.0),
    "3": (steps((-36, 10), (-23, 60), (-36, 10)), -23.0),
    "4": (steps((-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)), -23.0),
    "5": (steps((-26, 20), (-20, 20.1), (-26, 20)), -23.0),
}


@pytest.mark.parametrize("case", LOUDNESS)
def test_integrated_loudness(case, write, tmp_path):
    signal, expected = LOUDNESS[case]
    row = measure_track(str(write(tmp_path / "case.wav", signal, RATE)))
    assert row["loudness_lufs"] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("lfe", [-200.0, -3.0])
def test_integrated_loudness_of_surround(lfe, write, tmp_path):
    """Case 6: L and R at −28 dBFS, C at −24, Ls and Rs at −30 read −23.0; what the LFE plays does not count."""
    levels = (-28, -28, -24, lfe, -30, -30)
    signal = np.stack([sine(level, 20, RATE, 1000.0) for level in levels], axis=1)
    row = measure_track(str(write(tmp_path / "case.wav", signal, RATE)))
    assert row["loudness_lufs"] == pytest.approx(-23, abs=0.1)


#: Tech 3341, cases 15 to 19: amplitude, fraction of the sample rate, phase, dBTP +0.2/−0.4.
TONES = [(0.5, 4, 0.0, -6.0), (0.5, 4, 45.0, -6.0), (0.5, 6, 60.0, -6.0), (0.5, 8, 67.5, -6.0), (1.41, 4, 45.0, 3.0)]


@pytest.mark.parametrize(("amplitude", "part", "degrees", "expected"), TONES)
def test_true_peak_of_tones(amplitude, part, degrees, expected, write, tmp_path):
    fade = np.minimum(1, np.minimum(np.arange(RATE), np.arange(RATE)[::-1]) / 1000)
    tone = sine(20 * np.log10(amplitude), 1, RATE, RATE / part, degrees) * fade
    row = measure_track(str(write(tmp_path / "case.wav", stereo(tone), RATE, subtype="FLOAT")))
    assert expected - 0.4 <= row["true_peak_dbtp"] <= expected + 0.2


@pytest.mark.parametrize("offset", range(4))
def test_true_peak_at_any_place_between_samples(offset, write, tmp_path):
    """As in cases 20 to 23: a peak of 0 dBTP made at 4 times the rate, kept by every 4th sample from 0 to 3 on."""
    time = (np.arange(4 * RATE) - 2 * RATE) / (4 * RATE)
    envelope = 0.5 + 0.5 * np.exp(-((time * 2000) ** 2))  # half of it, but for 1 ms around the peak
    tone = np.cos(2 * np.pi * RATE / 6 * time) * envelope * np.hanning(len(time)) ** 0.1
    row = measure_track(str(write(tmp_path / "case.wav", stereo(tone[offset::4]), RATE, subtype="FLOAT")))
    assert -0.4 <= row["true_peak_dbtp"] <= 0.2


RANGES = {  # Tech 3342, table 1: LRA in LU ± 1
    "1": (((-20, 20), (-30, 20)), 10),
    "2": (((-20, 20), (-15, 20)), 5),
    "3": (((-40, 20), (-20, 20)), 20),
    "4": (((-50, 20), (-35, 20), (-20, 20), (-35, 20), (-50, 20)), 15),
}


@pytest.mark.parametrize("case", RANGES)
def test_loudness_range(case, write, tmp_path):
    parts, expected = RANGES[case]
    row = measure_track(str(write(tmp_path / "case.flac", steps(*parts), RATE)))
    assert row["loudness_range_lu"] == pytest.approx(expected, abs=1)
