"""A crop read by seeking equals the slice of the decoded file."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from data_test_audio import RATE, music

from ear_sat.data import (
    AudioFile,
    UnusableFileError,
    find_audio_files,
    mix_channels,
    open_header,
    read_crop,
    read_frames,
)

RATES = (22050, 32000, 44100, 48000, 96000)
PAIRS = [*itertools.permutations(RATES, 2), (8000, 16000), (11025, 44100), (192000, 44100)]


@pytest.mark.parametrize("theirs, ours", PAIRS)
def test_resampled_crop_equals_slice_of_resampled_file(write, theirs, ours):
    audio = music(1.3, rate=theirs)
    header = open_header(str(write("a.wav", audio, rate=theirs)))
    whole = soxr.resample(audio, theirs, ours).T
    total = header.length_at(ours)
    assert abs(total - whole.shape[1]) <= 1
    for start in (0, 1, 17, total // 3, total // 2 + 1, total - 5000):
        crop = read_crop(header, start, 5000, ours)
        assert crop.shape == (2, 5000) and crop.dtype == np.float32
        error = np.abs(crop - whole[:, start : start + 5000]).max()
        assert error < 1e-5, "−100 dBFS: the context either side covers the resampler's filter"
    assert abs(read_crop(header, 0, 10 * total, ours).shape[1] - total) <= 1


def test_file_that_cannot_seek_is_decoded_up_to_the_crop(write, monkeypatch):
    path = write("a.flac", music(40.0, channels=1))
    header = open_header(str(path))
    expected = read_frames(header, 600001, 1000)

    reads = []
    read = soundfile.SoundFile.read

    def no_seek(self, frames, *args):
        raise soundfile.LibsndfileError(39)

    def count(self, frames, *args, **kwargs):
        reads.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "seek", no_seek)
    monkeypatch.setattr(soundfile.SoundFile, "read", count)
    assert np.array_equal(read_frames(header, 600001, 1000), expected)
    assert len(reads) == 4 and sum(reads) == 601001, "three blocks were skipped"


def test_mixing_channels():
    one, two = np.full((1, 3), 0.5, np.float32), np.stack([np.full(3, 0.25), np.full(3, 0.75)]).astype(np.float32)
    assert np.array_equal(mix_channels(one, 1), one) and np.array_equal(mix_channels(two, 2), two)
    assert np.array_equal(mix_channels(one, 2), np.repeat(one, 2, axis=0))
    assert np.array_equal(mix_channels(two, 1), one)
    left, right, centre, _lfe, ls, rs = six = np.random.default_rng(0).uniform(-0.3, 0.3, (6, 8)).astype(np.float32)
    expected = np.stack([left + (centre + ls) / 2**0.5, right + (centre + rs) / 2**0.5])
    assert np.allclose(mix_channels(six, 2), expected, atol=1e-6)
    assert np.allclose(mix_channels(six, 1), expected.mean(axis=0), atol=1e-6)


def test_finding_files(write, tmp_path):
    for name in ("b.wav", "sub/deep/A.FLAC", "c.WAV", ".hidden.wav", ".cache/d.wav"):
        write(name, subtype="PCM_16")
    (tmp_path / "music" / "notes.txt").write_text("no audio")
    (tmp_path / "music" / "sub" / "loop").symlink_to(tmp_path / "music")
    root = tmp_path / "music"
    assert [str(Path(path).relative_to(root)) for path in find_audio_files(root)] == [
        "b.wav",
        "c.WAV",
        "sub/deep/A.FLAC",
    ]


def test_entries_that_cannot_be_looked_at_hide_no_others(tmp_path):
    for name in ("a.wav", "b.wav", "sub/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "long.wav").symlink_to("x" * 300)
    assert find_audio_files(tmp_path) == [str(tmp_path / name) for name in ("a.wav", "b.wav", "sub/c.wav")]


def test_headers_that_are_refused(write, tmp_path):
    cases = {
        "empty.wav": "empty",
        "text.wav": "not readable as audio \\(Format not recognised",
        "text.mp3": "not readable as audio \\(Format not recognised",
        "none.wav": "no samples",
        "eight.wav": "8 channels",
        "missing.wav": "No such file",
    }
    write("none.wav", music(0))
    write("eight.wav", music(channels=8))
    (tmp_path / "music" / "empty.wav").touch()
    for name in ("text.wav", "text.mp3"):
        (tmp_path / "music" / name).write_text("this is no audio\n" * 100)
    for name, reason in cases.items():
        with pytest.raises(UnusableFileError, match=reason):
            open_header(str(tmp_path / "music" / name))


@pytest.mark.parametrize("name", ["cut.wav", "cut.aiff"])
def test_a_file_whose_length_libsndfile_corrects(write, name):
    """It shortens what the header promises, without a word, to what is there."""
    path = write(name, music(2.0))
    frames, content = open_header(str(path)).frames, path.read_bytes()
    promised = r"(3199\d|32000)"  # counted from bytes, so a frame that is cut in two makes it a little less
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(UnusableFileError, match=rf"truncated: it ends at frame \d+, .* promises {promised}"):
        open_header(str(path))
    path.write_bytes(content[:-40])
    assert frames - 20 <= open_header(str(path)).frames < frames


def test_a_file_that_ends_early(write):
    path = write("a.mp3", music(5.0))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(UnusableFileError, match=r"truncated: it ends at frame \d+, but its header promises 80000"):
        open_header(str(path))
    # So it is where the length comes from a manifest.
    with pytest.raises(UnusableFileError, match="truncated"):
        read_frames(AudioFile(str(path), 80000, RATE, 2), 60000, 4096)
    # An estimate that is a little too long costs the end of one crop, not the file.
    wav = open_header(str(write("b.wav", music(1.0))))
    estimated = AudioFile(wav.path, wav.frames + 500, wav.sample_rate, wav.channels)
    assert len(read_frames(estimated, wav.frames - 1000, 1500)) == 1000
