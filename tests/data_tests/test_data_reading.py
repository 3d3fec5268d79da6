"""A crop read by seeking equals the slice of the decoded file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from data_test_audio import music

from ear_sat.data import (
    AudioFile,
    FolderDataset,
    UnusableFileError,
    find_audio_files,
    mix_channels,
    open_header,
    read_crop,
    read_frames,
)

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "audio" / "train"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.mp3"])
def test_crop_equals_slice(write, name):
    path = write(name, music(3.0))
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    header = open_header(str(path))
    assert (header.frames, header.sample_rate, header.channels) == (len(whole), 16000, 2)
    for start in (0, 1, 20011, len(whole) - 4096):
        crop, expected = read_frames(header, start, 4096), whole[start : start + 4096]
        if path.suffix in (".ogg", ".mp3"):  # decoders with state: the last bit may differ
            assert np.allclose(crop, expected, rtol=0, atol=1e-6)
        else:
            assert np.array_equal(crop, expected)
    assert len(read_frames(header, len(whole) - 10, 4096)) == 10


def test_opus_in_ogg(write):
    path = write("dummy.wav").with_name("a.opus")
    soundfile.write(path, music(2.0, rate=48000), 48000, format="OGG", subtype="OPUS")
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert np.array_equal(read_frames(open_header(str(path)), 50000, 4096), whole[50000:54096])


@pytest.mark.parametrize(
    "theirs, ours", [(8000, 16000), (48000, 44100), (44100, 48000), (96000, 22050), (11025, 44100)]
)
def test_resampled_crop_equals_slice_of_resampled_file(write, theirs, ours):
    audio = music(2.0, rate=theirs)
    header = open_header(str(write("a.wav", audio, rate=theirs)))
    whole = soxr.resample(audio, theirs, ours).T
    total = header.length_at(ours)
    assert abs(total - whole.shape[1]) <= 1
    for start in (0, 17, total // 2 + 1, total - 5000):
        crop = read_crop(header, start, 5000, ours)
        assert crop.shape == (2, 5000) and crop.dtype == np.float32
        error = np.abs(crop - whole[:, start : start + 5000]).max()
        assert error < 3e-5, "−90 dBFS: the context either side covers the resampler's filter"
    assert abs(read_crop(header, 0, 10 * total, ours).shape[1] - total) <= 1


def test_file_that_cannot_seek_is_decoded_up_to_the_crop(write, monkeypatch):
    path = write("a.flac", music(40.0, channels=1))
    header = open_header(str(path))
    expected = read_frames(header, 600001, 1000)

    seek, calls = soundfile.SoundFile.seek, []

    def no_seek(self, frames, *args):  # soundfile's read() seeks too, to update its position
        calls.append(frames)
        if len(calls) == 1:
            raise soundfile.LibsndfileError(39)
        return seek(self, frames, *args)

    monkeypatch.setattr(soundfile.SoundFile, "seek", no_seek)
    assert np.array_equal(read_frames(header, 600001, 1000), expected)
    assert calls[0] == 600001 and len(calls) > 3, "several blocks were skipped"


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


def test_headers_that_are_refused(write, tmp_path):
    cases = {
        "empty.wav": "empty",
        "text.wav": "not readable as audio",
        "none.wav": "no samples",
        "eight.wav": "8 channels",
        "missing.wav": "No such file",
    }
    write("none.wav", music(0))
    write("eight.wav", music(channels=8))
    (tmp_path / "music" / "empty.wav").touch()
    (tmp_path / "music" / "text.wav").write_text("this is no audio\n" * 100)
    for name, reason in cases.items():
        with pytest.raises(UnusableFileError, match=reason):
            open_header(str(tmp_path / "music" / name))


def test_a_file_that_ends_early(write):
    path = write("a.mp3", music(5.0))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    header = open_header(str(path))
    if header.frames > 40000:  # the header still promises all of it
        with pytest.raises(UnusableFileError, match="truncated"):
            read_frames(header, 60000, 4096)
    # An estimate that is a little too long costs the end of one crop, not the file.
    wav = open_header(str(write("b.wav", music(1.0))))
    estimated = AudioFile(wav.path, wav.frames + 500, wav.sample_rate, wav.channels)
    assert len(read_frames(estimated, wav.frames - 1000, 1500)) == 1000


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside this checkout")
def test_real_recordings(tmp_path):
    source = sorted(RECORDINGS.glob("*.mp3"))[-1]
    whole, rate = soundfile.read(source, dtype="float32", always_2d=True, frames=20 * 44100)
    assert np.array_equal(read_frames(open_header(str(source)), 300000, 65536), whole[300000:365536])
    for name in ("cut.wav", "cut.flac"):
        soundfile.write(tmp_path / name, whole, rate, subtype="PCM_16")
        decoded, _ = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)
        middle = len(decoded) // 2
        crop = read_frames(open_header(str(tmp_path / name)), middle, 65536)
        assert np.array_equal(crop, decoded[middle : middle + 65536])
    recordings = FolderDataset([{"id": "music", "path": str(RECORDINGS)}], 65536, 44100)
    assert not recordings.left_out and len(recordings) == len(list(RECORDINGS.glob("*.mp3")))
    audio, info = recordings[0]
    assert audio.shape == (2, 65536) and 0.01 < audio.abs().max() <= 1 and info["padding_mask"].all()
