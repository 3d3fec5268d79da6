"""A crop equals, bit for bit, the slice of the file decoded in one call, whatever the format."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ear_sat.data import FolderDataset, open_header, read_frames, synthesise_track
from ear_sat.prepare.decoding import Track

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "audio" / "train"
SECONDS = 12.0
MODES = ("CONSTANT", "AVERAGE", "VARIABLE")


@pytest.fixture(scope="module")
def tracks() -> dict[int, np.ndarray]:
    """Music with pauses of digital silence at several rates, (T, 2)."""
    rates = (16000, 22050, 32000, 44100, 48000)
    return {rate: synthesise_track(1, SECONDS, rate, seed=5).T.copy() for rate in rates}


def decoded(path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def assert_crops_exact(path, crops=12, frames=3000, seed=0) -> None:
    whole, header = decoded(path), open_header(str(path))
    rng = np.random.default_rng(seed)
    starts = [0, 1, 1105, len(whole) // 2, len(whole) - frames, len(whole) - 10]
    starts += [int(start) for start in rng.integers(0, len(whole) - 10, crops)]
    for start in starts:
        crop = read_frames(header, start, frames)
        assert np.array_equal(crop, whole[start : start + frames]), f"{path.name} from {start}"


@pytest.mark.parametrize("name, subtype", [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.wav", "IMA_ADPCM")])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav(tmp_path, tracks, name, subtype, channels):
    soundfile.write(tmp_path / name, tracks[44100][:, :channels], 44100, subtype=subtype)
    assert_crops_exact(tmp_path / name)


@pytest.mark.parametrize("name, subtype", [("a.flac", "PCM_16"), ("a.flac", "PCM_24"), ("a.aiff", "PCM_16")])
def test_flac_and_aiff(tmp_path, tracks, name, subtype):
    soundfile.write(tmp_path / name, tracks[44100], 44100, subtype=subtype)
    assert_crops_exact(tmp_path / name)


def write_mp3(path, audio, rate, mode="CONSTANT", level=0.5):
    soundfile.write(path, audio, rate, format="MP3", bitrate_mode=mode, compression_level=level)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [32000, 44100, 48000])
def test_mp3(tmp_path, tracks, rate, channels, mode):
    for level in (0.0, 0.9):  # the highest and nearly the lowest bit rate
        write_mp3(tmp_path / "a.mp3", tracks[rate][:, :channels], rate, mode, level)
        assert_crops_exact(tmp_path / "a.mp3")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate, channels", [(16000, 2), (22050, 1)])
def test_mp3_of_low_rates_is_decoded_from_its_beginning(tmp_path, tracks, rate, channels, mode):
    write_mp3(tmp_path / "a.mp3", tracks[rate][:, :channels], rate, mode, 0.9)
    assert_crops_exact(tmp_path / "a.mp3", crops=4)


def first_frame(data: bytes) -> tuple[int, int]:
    """Begin and end of the frame that holds the tag of the encoder."""
    begin = data.index(b"\xff\xfb")
    return begin, data.index(b"\xff\xfb", begin + 4)


@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_with_other_beginnings(tmp_path, tracks, channels):
    """Pictures in front, another encoder's delay, no tag at all: the place of sample 0 among the frames differs."""
    write_mp3(tmp_path / "a.mp3", tracks[44100][:, :channels], 44100)
    data = (tmp_path / "a.mp3").read_bytes()
    begin, end = first_frame(data)
    picture = b"ID3\x03\0\0" + bytes([0, 2, 0x35, 0x10]) + b"\xff\xfbInfo" + bytes(((2 << 14) | (0x35 << 7) | 0x10) - 6)
    tag = data.index(b"Info", begin)
    name = data.index(b"LAME", tag)
    delay = data[: name + 21] + (1800 << 12).to_bytes(3, "big") + data[name + 24 :]
    unnamed = data[:name] + bytes(end - name) + data[end:]
    for changed in (
        picture + data,
        delay,
        picture + delay,
        unnamed,
        data[:begin] + data[end:],
        data + b"TAG" + bytes(125),
    ):
        (tmp_path / "b.mp3").write_bytes(changed)
        assert_crops_exact(tmp_path / "b.mp3", crops=8)


@pytest.mark.parametrize("loud_first", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [32000, 44100, 48000])
def test_mp3_that_does_not_tell_its_length(tmp_path, tracks, rate, channels, loud_first):
    """Of variable bit rate and without a tag: libsndfile takes all frames to be as large as the first."""
    audio = tracks[rate][:, :channels].copy()
    audio[slice(5 * rate, None) if loud_first else slice(5 * rate)] = 0
    write_mp3(tmp_path / "a.mp3", audio, rate, "VARIABLE")
    data = (tmp_path / "a.mp3").read_bytes()
    begin, end = first_frame(data)
    path = tmp_path / "b.mp3"
    path.write_bytes(data[end:])
    tagged, untagged = decoded(tmp_path / "a.mp3"), soundfile.info(path).frames
    delay = (int.from_bytes(data[data.index(b"LAME", begin) + 21 :][:3], "big") >> 12) + 529
    header = open_header(str(path))
    assert untagged < 0.9 * header.frames if loud_first else untagged > 1.1 * header.frames
    assert header.frames % 1152 == 0 and len(tagged) + delay <= header.frames < len(tagged) + delay + 2 * 1152
    whole = read_frames(header, 0, header.frames)
    assert np.array_equal(whole[delay:][: len(tagged)], tagged)
    for start in (0, 1000, header.frames // 2, header.frames - 3000):
        assert np.array_equal(read_frames(header, start, 3000), whole[start : start + 3000])
    with Track(str(path)) as track:
        assert np.array_equal(np.concatenate(list(track.blocks())), whole)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_vorbis(tmp_path, tracks, rate, channels, level):
    audio = tracks[rate][:, :channels]
    soundfile.write(tmp_path / "a.ogg", audio, rate, format="OGG", subtype="VORBIS", compression_level=level)
    assert_crops_exact(tmp_path / "a.ogg", crops=25)


@pytest.mark.parametrize("rate, channels, level", [(48000, 2, 0.3), (48000, 1, 0.9), (16000, 1, 0.9)])
def test_opus(tmp_path, tracks, rate, channels, level):
    audio = np.concatenate([tracks[rate][:, :channels]] * 2)  # longer than the warm-up
    soundfile.write(tmp_path / "a.opus", audio, rate, format="OGG", subtype="OPUS", compression_level=level)
    assert_crops_exact(tmp_path / "a.opus", crops=6)


@pytest.fixture
def count(monkeypatch):
    """Counts the frames that are decoded."""
    counted, read = [], soundfile.SoundFile.read

    def counting(self, *args, **kwargs):
        audio = read(self, *args, **kwargs)
        counted.append(len(audio))
        return audio

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    return counted


@pytest.mark.parametrize("name, more", [("a.wav", 0), ("a.flac", 0), ("a.mp3", 20 * 1152), ("a.ogg", 16384)])
def test_little_is_decoded_beside_the_crop(tmp_path, tracks, name, more, count):
    soundfile.write(tmp_path / name, tracks[44100], 44100)
    header = open_header(str(tmp_path / name))
    for start in (200000, 400001, 500000):
        count.clear()
        read_frames(header, start, 5000)
        assert 5000 <= sum(count) <= 5000 + more


@pytest.mark.parametrize("damage", ["noise", "hole"])
def test_streams_that_are_no_plain_sequence_are_decoded_from_the_beginning(tmp_path, tracks, damage, count):
    path = tmp_path / "a.mp3"
    write_mp3(path, tracks[44100], 44100)
    data = path.read_bytes()
    middle = data.index(b"\xff\xfb", len(data) // 2)
    noise = np.random.default_rng(0).bytes(700).replace(b"\xff", b"\0")
    changed = {
        "noise": data[:middle] + noise + data[middle:],
        "hole": data[:middle] + bytes(100) + data[middle:],
    }
    path.write_bytes(changed[damage])
    whole, header = decoded(path), open_header(str(path))
    start = min(len(whole) * 3 // 4, len(whole) - 3000)
    count.clear()
    crop = read_frames(header, start, 3000)
    assert np.array_equal(crop, whole[start : start + 3000]) and sum(count) >= start


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside this checkout")
def test_real_recordings(tmp_path):
    for source in sorted(RECORDINGS.glob("*.mp3"))[-2:]:
        assert_crops_exact(source, crops=20, frames=8192)
    recordings = FolderDataset([{"id": "music", "path": str(RECORDINGS)}], 65536, 44100)
    assert not recordings.left_out and len(recordings) == len(list(RECORDINGS.glob("*.mp3")))
    audio, info = recordings[0]
    assert audio.shape == (2, 65536) and 0.01 < audio.abs().max() <= 1 and info["padding_mask"].all()
    whole, rate = soundfile.read(source, dtype="float32", always_2d=True, frames=20 * 44100)
    for name, subtype in (("a.flac", "PCM_16"), ("a.ogg", "VORBIS")):
        soundfile.write(tmp_path / name, whole, rate, subtype=subtype)
        assert_crops_exact(tmp_path / name)
