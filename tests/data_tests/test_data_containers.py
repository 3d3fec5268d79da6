"""Files that hold more, less or something else than their headers say are read to their last sample, or refused."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile
from data_test_audio import music

from ear_sat.data import AudioFile, UnusableFileError, find_audio_files, open_header, read_frames
from ear_sat.data.mp3 import find_parts
from ear_sat.data.reading import read_whole
from ear_sat.data.stream import Stream
from ear_sat.prepare import measure_track

CASES = Path(__file__).parents[1] / "data" / "cases"
SHARED = Path(__file__).parents[2].parent / "shared" / "cases"
RATE = 44100


def encoded(audio: np.ndarray, kind: str, rate: int = RATE, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0]


@pytest.fixture
def save(tmp_path):
    def write(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def assert_read_alike(path: str, expected: np.ndarray | None = None, frames: int | None = None) -> np.ndarray:
    """Header, all of it, crops, bytes instead of a path and the measurement of prepare-data agree."""
    header = open_header(path)
    whole = read_whole(path)[0].T
    assert header.frames == len(whole) == (frames if expected is None else len(expected))
    if expected is not None:
        assert np.array_equal(whole, expected)
    for start in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 5000, len(whole) - 10):
        assert np.array_equal(read_frames(header, start, 4000), whole[start : start + 4000]), start
    with Stream(Path(path).read_bytes()) as stream:
        assert np.array_equal(np.concatenate(list(stream.blocks(10000))), whole)
    row = measure_track(path)
    assert row["error"] is None and row["frames"] == len(whole)
    return whole


def refused(path: str) -> str:
    """The reason that the header gives; prepare-data gives the same."""
    with pytest.raises(UnusableFileError) as caught:
        open_header(path)
    assert measure_track(path)["error"] == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name, frames", [("m_22k_noxing.mp3", 67392), ("m_id3_undercount.mp3", 133632), ("m_zeros_first.mp3", 133632)]
)
def test_mp3_cases(name, frames):
    assert_read_alike(str(CASES / name), frames=frames)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the cases are not beside this checkout")
@pytest.mark.parametrize(
    "name, frames", [("f_ffpipe.flac", 132300), ("f_trailing_id3v1.flac", 132300), ("m_two_id3.mp3", 133632)]
)
def test_larger_cases(name, frames):
    assert_read_alike(str(SHARED / name), frames=frames)


ID3 = b"ID3\x04\0\0" + bytes([0, 6, 0x35, 0x10]) + bytes(6 << 14 | 0x35 << 7 | 0x10)
ID3V1 = b"TAG" + bytes(125)


@pytest.fixture(scope="module", params=[(44100, "CONSTANT"), (44100, "VARIABLE"), (22050, "VARIABLE")], ids=str)
def two_mp3s(request) -> tuple[bytes, bytes]:
    rate, mode = request.param
    return tuple(encoded(music(s, rate=rate, seed=s), "MP3", rate, bitrate_mode=mode) for s in (3, 2))


def audio_frames(mp3: bytes) -> tuple[bytes, int]:
    """The frames without the encoder's tag, and how many samples they decode to."""
    (whole,) = find_parts(bytes(3000) + mp3)
    tag = mp3.find(b"\xff", 4) if mp3[1] & 8 else mp3.find(b"\xff\xf3", 4)
    (untagged,) = find_parts(mp3[tag:])
    assert whole.frames is None and untagged.frames is not None
    return mp3[tag:], untagged.frames


def test_joined_mp3s(save, two_mp3s):
    first, second = two_mp3s
    both = np.concatenate([decoded(first), decoded(second)])
    assert_read_alike(save("a.mp3", first + second), both)
    assert_read_alike(save("b.mp3", ID3 + first + ID3V1 + ID3 + second + ID3V1), both)


def test_joined_mp3s_of_which_some_do_not_tell_their_length(save, two_mp3s):
    first, second = two_mp3s
    (bare, frames), (other, more) = map(audio_frames, two_mp3s)
    assert frames >= len(decoded(first)) + 1105, "with what a tag would drop"
    assert_read_alike(save("a.mp3", bare), frames=frames)
    assert_read_alike(save("b.mp3", bare + other), frames=frames + more)
    assert_read_alike(save("c.mp3", bare + ID3 + other), frames=frames + more)
    whole = assert_read_alike(save("d.mp3", bare + second), frames=frames + len(decoded(second)))
    assert np.array_equal(whole[frames:], decoded(second))
    # The first one's tag counts its own frames only.
    header = open_header(save("e.mp3", first + other))
    assert header.frames >= len(decoded(first)) + more
    assert_read_alike(header.path, frames=header.frames)


def test_mp3s_behind_junk(save, two_mp3s):
    first = two_mp3s[0]
    bare, frames = audio_frames(first)
    assert_read_alike(save("zeros.mp3", bytes(5000) + first), decoded(first))
    assert_read_alike(save("two.mp3", ID3 + ID3 + first), decoded(first))
    assert_read_alike(save("uncounted.mp3", ID3 + b"\x01padding" * 300 + first), decoded(first))
    start = open_header(save("cut.mp3", bare[100:])).frames
    assert 0 < frames - start <= 1152, "one frame is gone"


def test_a_tag_with_a_wrong_checksum_is_not_believed(save, two_mp3s):
    """It says fewer frames, and as many bytes as there are."""
    first = bytearray(two_mp3s[0])
    place = max(first.find(b"Xing"), first.find(b"Info")) + 8
    first[place : place + 4] = (int.from_bytes(first[place : place + 4], "big") // 2).to_bytes(4, "big")
    header = open_header(save("a.mp3", bytes(first)))
    assert 0 <= header.frames - len(decoded(two_mp3s[0])) < 1152, "with the encoder's padding"
    assert_read_alike(header.path, frames=header.frames)


def test_the_tag_of_another_encoder_is_no_music(save, two_mp3s):
    """libsndfile does not know Fraunhofer's, which stands where the others stand."""
    first = two_mp3s[0]
    bare, frames = audio_frames(first)
    tag = first[:4].ljust(36, b"\0") + b"VBRI" + bytes(6) + len(first).to_bytes(4, "big")
    count = frames // (1152 if first[1] & 8 else 576)
    content = (tag + count.to_bytes(4, "big")).ljust(len(first) - len(bare), b"\0") + bare
    assert_read_alike(save("a.mp3", content), frames=frames)
    assert refused(save("cut.mp3", content[: len(content) // 2])).startswith("truncated: it ends at frame ")


def test_a_cut_mp3_is_known_by_its_header(save, two_mp3s):
    whole = len(decoded(two_mp3s[0]))
    reason = refused(save("a.mp3", two_mp3s[0][: len(two_mp3s[0]) // 2]))
    assert reason.startswith("truncated: it ends at frame ") and reason.endswith(f"its header promises {whole}")


def test_what_cannot_be_joined(save):
    stereo, mono = encoded(music(1.0), "MP3"), encoded(music(1.0, channels=1), "MP3")
    assert "split it" in refused(save("a.mp3", stereo + mono))
    assert "split it" in refused(save("b.mp3", stereo + encoded(music(1.0), "MP3", 48000)))
    assert "split it" in refused(save("c.ogg", encoded(music(1.0), "OGG") + encoded(music(1.0), "OGG", 48000)))


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_chained_ogg(save, codec):
    first, second = (encoded(music(s, rate=48000, seed=s), "OGG", 48000, subtype=codec) for s in (3, 2))
    both = np.concatenate([decoded(first), decoded(second)])
    assert_read_alike(save("a.ogg", first + second), both)
    assert_read_alike(save("b.ogg", first + second + ID3V1), both)


def test_an_ogg_without_its_end_is_cut(save):
    assert refused(str(CASES / "o_trunc.ogg")).startswith("truncated: ")
    whole = encoded(music(3.0, rate=RATE), "OGG")
    assert refused(save("a.ogg", whole[: len(whole) * 2 // 3])).startswith("truncated: ")
    assert refused(save("b.ogg", whole + whole[: len(whole) // 2])).startswith("truncated: ")


@pytest.mark.parametrize("place", [40, 64, 80, 1720])  # in the first page, in the second one's place, sum and body
def test_an_ogg_whose_headers_are_damaged_is_refused(save, place):
    """libsndfile leaves such a page out and decodes what it can: less than half of it, once."""
    whole = bytearray(encoded(music(3.0), "OGG"))
    whole[place] ^= 1
    assert refused(save("a.ogg", bytes(whole))).startswith("damaged: the checksum of a page with Ogg headers")


@pytest.mark.parametrize("place", [6, 22, 200, -1])  # a position, the checksum itself, sound
def test_an_ogg_whose_last_page_is_damaged_is_refused(save, place):
    whole = bytearray(encoded(music(3.0), "OGG"))
    whole[whole.rfind(b"OggS") + place if place > 0 else place] ^= 1
    assert refused(save("a.ogg", bytes(whole))).startswith("damaged: the checksum of its last Ogg page")


def with_total(flac: bytes, total: int) -> bytes:
    """With another length in its header: 36 bits, RFC 9639, 8.2."""
    packed = int.from_bytes(flac[18:26], "big") >> 36 << 36 | total
    return flac[:18] + packed.to_bytes(8, "big") + flac[26:]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("seconds", [3.0, 0.01])
def test_flac_whose_header_does_not_know_its_length(save, seconds, subtype):
    flac = encoded(music(3.0 + seconds, rate=RATE), "FLAC", subtype=subtype)
    audio, junk = decoded(flac), np.random.default_rng(0).bytes(3000)
    for total in (0, 50_000):  # unknown, and too few: the recorder stopped
        assert_read_alike(save("a.flac", with_total(flac, total)), audio)
        assert_read_alike(save("b.flac", with_total(flac, total) + junk), audio)
    assert_read_alike(save("c.flac", with_total(flac, 0) + bytes(200_000)), audio)


def test_flac_with_something_around_it(save):
    flac = encoded(music(3.0, rate=RATE), "FLAC")
    for before, after in ((ID3, b""), (b"", ID3V1), (b"", bytes(200_000)), (ID3, ID3V1)):
        assert_read_alike(save("a.flac", before + flac + after), decoded(flac))


def test_joined_flac(save):
    first, second = encoded(music(3.0, rate=RATE), "FLAC"), encoded(music(2.0, rate=RATE, seed=1), "FLAC")
    one, two = decoded(first), decoded(second)
    assert_read_alike(save("a.flac", first + second), np.concatenate([one, two]))
    assert_read_alike(save("b.flac", second + first), np.concatenate([two, one]))
    assert_read_alike(save("c.flac", with_total(first, 0) + ID3 + second), np.concatenate([one, two]))


def test_a_header_that_claims_everything(save):
    most = 2**36 - 1
    path = save("a.flac", with_total(encoded(music(3.0, rate=RATE), "FLAC"), most))
    assert refused(path) == f"truncated: it ends at frame {3 * RATE}, but its header promises {most}"


def with_size(wav: bytes, size: int) -> bytes:
    return wav[:40] + size.to_bytes(4, "little") + wav[44:]


@pytest.mark.parametrize("size", [0, 100_000, 0xFFFFFFFF])
def test_wav_that_holds_more_than_its_header_counts(save, size):
    """A recorder that stopped, one that had written its header once, a pipe."""
    wav = encoded(music(3.0, rate=RATE), "WAV", subtype="PCM_16")
    assert_read_alike(save("a.wav", with_size(wav, size)), decoded(wav))


def test_wav_of_more_than_four_gigabytes(tmp_path):
    """Its 32 bits have come round; what lies between is a hole in the file and takes no room."""
    wav, path = encoded(music(1.0, rate=RATE), "WAV", subtype="PCM_16"), tmp_path / "a.wav"
    frames = 2**30 + 3 * RATE
    try:
        with path.open("wb") as file:
            file.write(with_size(wav, frames * 4 % 2**32))
            file.truncate(44 + frames * 4)
    except OSError as error:
        pytest.skip(f"the file system has no room for it: {error}")
    header = open_header(str(path))
    assert header.frames == frames
    assert np.array_equal(read_frames(header, 1000, 500), decoded(wav)[1000:1500])
    assert not read_frames(header, frames - 500, 500).any()


def test_wav_with_chunks_behind_the_audio(save):
    wav = encoded(music(1.0, rate=RATE), "WAV", subtype="PCM_16")
    for tail in (b"LIST" + (8000).to_bytes(4, "little") + bytes(8000), b"id3 \x10\0\0\0" + bytes(16), ID3V1):
        assert_read_alike(save("a.wav", wav + tail), decoded(wav))


@pytest.mark.parametrize("kind", ["AIFF", "W64", "RF64", "AU"])
def test_cut_files_of_other_formats(save, kind):
    content = encoded(music(3.0, rate=RATE), kind, subtype="PCM_16")
    assert_read_alike(save("a.x", content), decoded(content))
    assert refused(save("b.x", content[: len(content) // 2])).startswith("truncated: it ends at frame ")


@pytest.mark.parametrize("container, suffix", [("OGG", "ogg"), ("MP3", "mp3"), ("FLAC", "flac")])
def test_a_manifest_of_another_count_reads_the_same(save, container, suffix):
    """Made by other programs, which believe the header."""
    content = encoded(music(3.0, rate=RATE, seed=3), container)
    other = encoded(music(2.0, rate=RATE, seed=2), container)
    header = open_header(save(f"a.{suffix}", content + other))
    whole = read_whole(header.path)[0].T
    for frames in (header.frames - 1, header.frames + 20):
        manifest = AudioFile(header.path, frames, RATE, 2)
        assert np.array_equal(read_frames(manifest, RATE, 1000), whole[RATE : RATE + 1000])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_what_is_no_file_is_refused_and_left_out_of_listings(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    (tmp_path / "c.wav").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        where = Path.cwd()
        os.chdir(tmp_path)  # its path may be longer than sockets allow
        try:
            server.bind("d.wav")
        finally:
            os.chdir(where)
    kinds = {"a": "a pipe (FIFO)", "b": "a device", "c": "a folder", "d": "a socket"}
    for name, kind in kinds.items():
        path = str(tmp_path / f"{name}.wav")
        assert refused(path).startswith(f"it is {kind}, not a file")
        with pytest.raises(UnusableFileError, match="not a file"):
            read_frames(AudioFile(path, 1000, RATE, 2), 0, 100)
    assert find_audio_files(tmp_path) == []


def test_floats_at_the_scale_of_integers(save):
    audio = music(1.0, rate=RATE)
    path = save("a.wav", encoded(32768 * audio, "WAV", subtype="FLOAT"))
    with pytest.raises(UnusableFileError, match=r"reach 16\d\d\d\.?\d*, where 1 is full scale: divide them by"):
        read_frames(open_header(path), 0, 1000)
    assert "where 1 is full scale" in measure_track(path)["error"]
    hot = save("b.wav", encoded(8 * audio, "WAV", subtype="DOUBLE"))  # peaks of +12 dBFS
    assert measure_track(hot)["error"] is None and np.abs(read_frames(open_header(hot), 0, 1000)).max() > 3.9


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"x" * 251 + b".wav"])
def test_names_of_any_bytes(tmp_path, name):
    try:
        (tmp_path / os.fsdecode(name)).write_bytes(encoded(music(1.0, rate=RATE), "WAV"))
    except OSError as error:  # macOS refuses what is not UTF-8
        pytest.skip(str(error))
    (found,) = find_audio_files(tmp_path)
    assert open_header(found).frames == RATE and read_whole(found)[0].shape == (2, RATE)
    assert len(read_frames(open_header(found), 100, 50)) == 50
