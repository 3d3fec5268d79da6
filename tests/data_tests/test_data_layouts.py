"""Channels find their places whatever the container, codec or mask."""

import io

import numpy as np
import pytest
import soundfile

from ear_sat.data import UnusableFileError, mix_channels, open_header, read_crop
from ear_sat.data.handle import Handle
from ear_sat.data.layouts import layout_of, loudness_weights
from ear_sat.data.reading import read_whole
from ear_sat.prepare import measure_track
from ear_sat.prepare.shards import encode_track

RATE, SECONDS = 48000, 3
WAV_51 = ("L", "R", "C", "LFE", "Lb", "Rb")
VORBIS_51 = [0, 2, 1, 4, 5, 3]  # of the order of wav: L C R Lb Rb LFE


@pytest.fixture(scope="module")
def six() -> np.ndarray:
    """Tones of different pitch and level, in the order of wav, (T, 6)."""
    time = np.arange(SECONDS * RATE) / RATE
    levels = (0.3, 0.2, 0.25, 0.1, 0.15, 0.35)
    return np.stack([a * np.sin(2 * np.pi * 200 * (n + 2) * time) for n, a in enumerate(levels)], 1).astype(np.float32)


def with_mask(audio: np.ndarray, mask: int, container: str = "WAVEX") -> bytes:
    """A wav file with this channel mask: WAVEFORMATEXTENSIBLE has it 20 bytes into its chunk."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, RATE, subtype="PCM_16", format=container)
    content = bytearray(buffer.getvalue())
    place = content.index(b"fmt ") + 28
    content[place : place + 4] = mask.to_bytes(4, "little")
    return bytes(content)


def snr(estimate: np.ndarray, reference: np.ndarray) -> float:
    if np.array_equal(estimate, reference):
        return np.inf
    return float(10 * np.log10(np.square(reference).sum() / np.square(estimate - reference).sum()))


@pytest.mark.parametrize("codec, least", [("VORBIS", 35), ("OPUS", 25)])
def test_51_of_vorbis_and_opus(six, tmp_path, codec, least):
    """libsndfile hands them over in an order of their own; all commands hear what the wav file gives."""
    options = {"format": "OGG", "subtype": codec, "compression_level": 0.0}
    soundfile.write(tmp_path / "a.ogg", six[:, VORBIS_51], RATE, **options)
    soundfile.write(tmp_path / "a.wav", six, RATE, subtype="FLOAT")
    header, wav = (open_header(str(tmp_path / name)) for name in ("a.ogg", "a.wav"))
    assert header.layout == wav.layout == WAV_51
    each, _ = read_whole(header.path)
    assert min(snr(each[n], six[:, n]) for n in (0, 1, 2, 4, 5)) > least - 10
    assert snr(read_crop(header, 1000, 50000, RATE, 2), read_crop(wav, 1000, 50000, RATE, 2)) > least
    assert snr(read_crop(header, 1000, 40000, 44100, 2), read_crop(wav, 1000, 40000, 44100, 2)) > least
    soundfile.write(tmp_path / "b.wav", each.T, RATE, subtype="FLOAT")
    same = read_crop(open_header(str(tmp_path / "b.wav")), 1000, 50000, RATE, 2)
    assert snr(read_crop(header, 1000, 50000, RATE, 2), same) > 100, "but for what the codec loses"
    ours, theirs = (measure_track(str(tmp_path / name))["loudness_lufs"] for name in ("a.ogg", "b.wav"))
    assert ours == pytest.approx(theirs, abs=1e-4)
    shards = [soundfile.read(io.BytesIO(encode_track(file.path, None)[0]))[0] for file in (header, wav)]
    assert snr(*shards) > least


@pytest.mark.parametrize(
    "mask, layout",
    [
        (0x3F, "L R C LFE Lb Rb"),
        (0x60F, "L R C LFE Ls Rs"),
        (0x707, "L R C Cb Ls Rs"),  # 6.0
        (0x33F & ~0x200 | 0x600, "L R C LFE Lb Rb Ls Rs"),  # 7.1
        (0x70F, "L R C LFE Cb Ls Rs"),  # 6.1
        (0x37, "L R C Lb Rb"),
        (0x33, "L R Lb Rb"),
        (0x107, "L R C Cb"),
        (0x7, "L R C"),
        (0xB, "L R LFE"),
    ],
)
@pytest.mark.parametrize("container", ["WAVEX", "RF64"])
def test_channel_masks(mask, layout, container, tmp_path):
    count = len(layout.split())
    audio = np.random.default_rng(0).uniform(-0.1, 0.1, (RATE, count))
    content = with_mask(audio, mask & ~0x100 if layout.endswith("Lb Rb Ls Rs") else mask, container)
    (tmp_path / "a.wav").write_bytes(content)
    header = open_header(str(tmp_path / "a.wav"))
    assert header.layout == tuple(layout.split())
    gains = {"L": (1, 0), "R": (0, 1), "C": (0.5**0.5,) * 2, "LFE": (0, 0), "Cb": (0.5, 0.5)}
    gains |= {side + place: gain for place in "sb" for side, gain in (("L", (0.5**0.5, 0)), ("R", (0, 0.5**0.5)))}
    expected = np.array([gains[name] for name in layout.split()]).T @ soundfile.read(header.path)[0].T
    assert np.allclose(read_crop(header, 0, RATE, RATE, 2), expected, atol=1e-6)


def test_layouts_without_a_rule_are_refused(tmp_path):
    audio = np.zeros((RATE, 6))
    for mask, reason in ((0xFC, "no rule"), (0x3F << 12, "no rule"), (0x3FF, "does not say where they belong")):
        (tmp_path / "a.wav").write_bytes(with_mask(audio, mask))
        with pytest.raises(UnusableFileError, match=reason):
            open_header(str(tmp_path / "a.wav"))
    (tmp_path / "a.wav").write_bytes(with_mask(audio, 0))  # it says nothing: 5.1
    assert open_header(str(tmp_path / "a.wav")).layout == WAV_51
    for count in (3, 4, 5, 7, 8, 9):  # stems, microphones, Ambisonics: anything
        soundfile.write(tmp_path / "a.wav", np.zeros((100, count)), RATE)
        with pytest.raises(UnusableFileError, match=f"it has {count} channels and does not say where they belong"):
            open_header(str(tmp_path / "a.wav"))
        assert open_header(str(tmp_path / "a.wav"), mixed=False).layout == ()


@pytest.mark.parametrize("count, layout", [(3, "L R C"), (4, "L R Lb Rb"), (5, "L R C Lb Rb"), (6, " ".join(WAV_51)),
                                           (7, "L R C LFE Cb Ls Rs"), (8, "L R C LFE Lb Rb Ls Rs")])  # fmt: skip
@pytest.mark.parametrize("suffix", ["flac", "ogg"])
def test_standard_orders(count, layout, suffix, tmp_path):
    """Every channel is another constant, so that the order shows."""
    levels = 0.1 * np.arange(1, count + 1)
    soundfile.write(tmp_path / f"a.{suffix}", np.tile(levels, (20000, 1)), RATE)
    header = open_header(str(tmp_path / f"a.{suffix}"))
    assert header.layout == tuple(layout.split())
    heard = read_whole(header.path)[0][:, 9000:11000].mean(axis=1)
    order = {"ogg": {3: [0, 2, 1], 5: [0, 2, 1, 3, 4], 6: [0, 2, 1, 5, 3, 4], 7: [0, 2, 1, 6, 5, 3, 4],
                     8: [0, 2, 1, 7, 5, 6, 3, 4]}}  # fmt: skip
    assert np.allclose(heard, levels[order.get(suffix, {}).get(count, list(range(count)))], atol=0.02)


def test_what_files_say_of_their_layout():
    apple = "chan : 12\n  Layout : {}\n  Flags : 0"
    c71 = "MPEG 7.1 C (L, R, C, LFE, Ls, R, Rls, Rrs)"  # the second R is libsndfile's misprint
    assert layout_of("CAF", "PCM_16", 8, apple.format(c71), b"") == ("L", "R", "C", "LFE", "Ls", "Rs", "Lb", "Rb")
    d51 = "MPEG 5.1 D (C, L, R, Ls, Rs, LFE)"
    assert layout_of("CAF", "PCM_16", 6, apple.format(d51), b"") == ("C", "L", "R", "Ls", "Rs", "LFE")
    quad = "quad (Lfront, Rfront, Lrear, Rrear)"
    assert layout_of("AIFF", "PCM_16", 4, apple.format(quad), b"") == ("L", "R", "Lb", "Rb")
    assert layout_of("CAF", "PCM_16", 8, apple.format("cube (L, R, Lrear, Rrear, Ltop, Rtop, x, y)"), b"") == ()
    assert layout_of("AIFF", "PCM_16", 6, "", b"") == WAV_51
    comment = b"..WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0x707"
    assert layout_of("FLAC", "PCM_16", 6, "", comment) == ("L", "R", "C", "Cb", "Ls", "Rs")
    opus = b"OpusHead\1\4" + bytes(8)
    assert layout_of("OGG", "OPUS", 4, "", opus + b"\1") == ("L", "R", "Lb", "Rb")
    assert layout_of("OGG", "OPUS", 4, "", opus + b"\2") == ()  # Ambisonics


def test_weights_of_loudness():
    assert loudness_weights(WAV_51) == [1, 1, 1, 0, 1.41, 1.41]
    assert loudness_weights(("L", "R", "C", "LFE", "Lb", "Rb", "Ls", "Rs")) == [1, 1, 1, 0, 1, 1, 1.41, 1.41]
    assert loudness_weights(("C",)) == [1] and loudness_weights(("L", "R", "C", "Cb")) == [1, 1, 1, 1]


def test_mixing_needs_a_rule():
    with pytest.raises(ValueError, match="no rule for mixing 4 channels"):
        mix_channels(np.zeros((4, 8)), 2)
    quad = np.eye(4, dtype=np.float32)
    half = 0.5**0.5
    assert np.allclose(mix_channels(quad, 2, ("L", "R", "Lb", "Rb")), [[1, 0, half, 0], [0, 1, 0, half]])
    assert np.allclose(mix_channels(quad, 1, ("L", "R", "Lb", "Rb")), [[0.5, 0.5, half / 2, half / 2]])


def test_handles_leave_mono_and_stereo_alone(tmp_path):
    for count, layout in ((1, ("C",)), (2, ("L", "R"))):
        soundfile.write(tmp_path / "a.ogg", np.zeros((100, count)), RATE)
        with Handle(str(tmp_path / "a.ogg")) as handle:
            assert handle.layout == layout
