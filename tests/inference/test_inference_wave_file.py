"""Peaks, sample formats, sizes and failures of the wav files that are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ear_sat.errors import UserError
from ear_sat.inference import Settings
from ear_sat.inference.wave_file import write_wave

LOUD = np.array([[0.5, -1.0, 1.5, 0.25], [0.0, 1.0, -2.0, 0.125]], np.float32)


def blocks() -> Iterator[np.ndarray]:
    yield LOUD[:, :1]
    yield LOUD[:, :0]
    yield LOUD[:, 1:]


@pytest.mark.parametrize(
    ("subtype", "peaks", "expected"),
    [
        ("pcm24", "clip", LOUD.clip(-1, 1)),
        ("float", "clip", LOUD.clip(-1, 1)),
        ("float", "keep", LOUD),
        ("pcm24", "scale", LOUD / 2),
        ("float", "scale", LOUD / 2),
    ],
)
def test_peaks_above_full_scale(subtype: str, peaks: str, expected: np.ndarray, tmp_path: Path) -> None:
    levels = write_wave(tmp_path / "a.wav", blocks(), 32000, 2, subtype, peaks)
    assert (levels.peak, levels.over) == (2.0, 2)
    assert levels.decibels == pytest.approx(6.0206, abs=1e-4)
    audio, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_allclose(audio.T, expected, rtol=0, atol=0 if subtype == "float" else 2**-23)
    info = soundfile.info(tmp_path / "a.wav")
    assert (rate, info.subtype, info.format) == (32000, {"pcm24": "PCM_24", "float": "FLOAT"}[subtype], "WAV")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_quiet_audio_is_not_scaled(tmp_path: Path) -> None:
    levels = write_wave(tmp_path / "a.wav", iter([LOUD / 4]), 44100, 2, "float", "scale")
    assert (levels.peak, levels.over) == (0.5, 0)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a.wav", dtype="float32")[0].T, LOUD / 4)


def test_silence_has_no_level(tmp_path: Path) -> None:
    assert write_wave(tmp_path / "a.wav", iter([np.zeros((1, 9), np.float32)]), 44100, 1).decibels == -np.inf


def test_more_than_four_gigabytes_are_rf64(tmp_path: Path) -> None:
    for frames, container in ((700_000_000, "WAV"), (720_000_000, "RF64")):
        write_wave(tmp_path / "a.wav", blocks(), 44100, 2, estimated_frames=frames)
        assert soundfile.info(tmp_path / "a.wav").format == container
        assert soundfile.read(tmp_path / "a.wav")[0].shape == (4, 2)


@pytest.mark.parametrize("peaks", ["clip", "scale"])
def test_an_interrupted_file_leaves_the_old_one(peaks: str, tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield LOUD
        raise KeyboardInterrupt

    (tmp_path / "a.wav").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_wave(tmp_path / "a.wav", broken(), 44100, 2, "pcm24", peaks)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.wav", b"old")]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_output_that_is_not_finite_is_refused(bad: float, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="use --precision 32"):
        write_wave(tmp_path / "a.wav", iter([LOUD, np.full((2, 1), bad, np.float32)]), 44100, 2)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(self: soundfile.SoundFile, data: np.ndarray) -> None:
        raise AssertionError

    monkeypatch.setattr(soundfile.SoundFile, "write", short)
    with pytest.raises(OSError, match="is the disk full"):
        write_wave(tmp_path / "a.wav", blocks(), 44100, 2)
    monkeypatch.setattr(soundfile.SoundFile, "write", lambda *_: None)
    with pytest.raises(OSError, match="is the disk full"):
        write_wave(tmp_path / "a.wav", blocks(), 44100, 2)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_wave(tmp_path / "missing" / "a.wav", blocks(), 44100, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"subtype": "pcm25"}, "did you mean 'pcm24'"),
        ({"peaks": "scal"}, "did you mean 'scale'"),
        ({"channels": "eahc"}, "did you mean 'each'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"peaks": "keep"}, "use --subtype float, or clip or scale"),
        ({"batch_size": 0}, "--batch-size must be a whole number of at least 1"),
        ({"chunk_seconds": 0}, "--chunk-seconds must be a number above 0"),
        ({"attention_seconds": float("inf")}, "--attention-seconds must be a number above 0"),
    ],
)
def test_settings_are_checked(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**values)  # type: ignore[arg-type]


def test_what_becomes_of_peaks_by_default() -> None:
    assert Settings().peak_policy == "clip"
    assert Settings(subtype="float").peak_policy == "keep"
    assert Settings(subtype="float", peaks="scale").peak_policy == "scale"
