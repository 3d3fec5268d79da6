"""Two files become two comparable waveforms, or one clear sentence."""

import numpy as np
import pytest
import soundfile
import soxr
import torch
import torchaudio

from ear_sat.data import UnusableFileError
from ear_sat.evaluate.loading import SAMPLE_RATE, load_pair


@pytest.fixture
def pair(tmp_path, noise, write):
    """Writes a reference and an estimate, given as (samples, channels, rate), and loads them."""

    def load(target, preds=None, target_rate=SAMPLE_RATE, preds_rate=SAMPLE_RATE, align=False):
        write(tmp_path / "target.wav", target, target_rate)
        write(tmp_path / "preds.wav", target if preds is None else preds, preds_rate)
        return load_pair(tmp_path / "target.wav", tmp_path / "preds.wav", align)

    return load


def test_equal_files_need_no_note(pair, noise):
    samples = noise(0)
    loaded = pair(samples)
    assert torch.equal(loaded.preds, loaded.target)
    assert np.array_equal(loaded.target.T.numpy(), samples)
    assert (loaded.offset, loaded.start, loaded.notes) == (0, 0, [])


def test_resampled_by_torchaudio_and_trimmed(pair, noise):
    target, preds = noise(0, rate=48000, seconds=1.0), noise(0, seconds=0.9)
    loaded = pair(target, preds, target_rate=48000)
    by_release = torchaudio.transforms.Resample(48000, 44100)(torch.from_numpy(target.T.copy()))
    assert torch.equal(loaded.target, by_release[:, : len(preds)])
    assert loaded.notes[:2] == [
        "the reference has 48000 Hz: resampled to 44100 Hz",
        "the estimate is 4410 samples (0.100 s) shorter: trimmed to 0.90 s",
    ]


@pytest.mark.parametrize("rate", [8000, 22050, 96000])
def test_other_rates(pair, rate):
    time = np.arange(rate) / rate
    samples = np.repeat(0.5 * np.sin(2 * np.pi * 1000 * time)[:, None], 2, axis=1).astype(np.float32)
    loaded = pair(samples, target_rate=rate, preds_rate=rate)
    expected = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(SAMPLE_RATE) / SAMPLE_RATE)
    middle = slice(4000, 40000)
    assert loaded.target.shape == (2, SAMPLE_RATE)
    assert (loaded.target[0, middle] - expected[middle]).abs().max() < 2e-3


def test_a_rate_too_odd_for_torchaudio(pair, noise):
    samples = noise(0, rate=44099)
    loaded = pair(samples, target_rate=44099, preds_rate=44099)
    assert sum("soxr was used" in note for note in loaded.notes) == 2
    by_soxr = soxr.resample(samples, 44099, 44100)
    assert np.allclose(loaded.target.T.numpy(), by_soxr, atol=1e-6)


def test_mono_against_stereo(pair, noise):
    samples = noise(0)
    loaded = pair(samples, samples[:, :1])
    assert loaded.preds.shape == loaded.target.shape == (2, len(samples))
    assert torch.equal(loaded.preds[0], loaded.preds[1])
    assert "the estimate is mono, the other stereo: mono copied to both channels" in loaded.notes
    assert pair(samples[:, :1], samples[:, :1]).target.shape[0] == 1  # both mono: as they are


def test_surround_is_mixed_down(pair, noise):
    stereo = noise(0)
    surround = np.zeros((len(stereo), 6), np.float32)
    surround[:, :2] = stereo
    loaded = pair(surround, stereo)
    assert torch.allclose(loaded.target, loaded.preds, atol=1e-6)
    assert "the reference is 5.1: mixed down to stereo" in loaded.notes


@pytest.mark.parametrize(("shift", "word"), [(700, "late"), (-700, "early")])
def test_offset_is_noted_and_corrected(pair, noise, shift, word):
    music = noise(0, seconds=2.0)
    first, second = (music[700:], music[:-700]) if shift > 0 else (music[:-700], music[700:])
    plain = pair(first, second)
    assert plain.offset == shift
    assert f"the estimate is 700 samples (15.9 ms) {word}; --align corrects it" in plain.notes
    assert plain.target.shape[-1] == len(first)
    aligned = pair(first, second, align=True)
    assert torch.equal(aligned.preds, aligned.target)
    assert aligned.start == (0 if shift > 0 else 700)
    assert aligned.target.shape[-1] == len(first) - 700
    assert any(note.endswith("corrected") for note in aligned.notes)


def test_other_music_and_silence_are_noted(pair, noise):
    other = pair(noise(0, 2.0), noise(1, 2.0))
    assert other.offset is None
    assert any("is this the same music?" in note for note in other.notes)
    silent = pair(noise(0), np.zeros((44100, 2), np.float32))
    assert silent.notes == ["the estimate is silent"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"RIFF nonsense"), "not readable as audio"),
        (lambda path: path.write_text("<html>"), "not readable as audio"),
        (lambda path: soundfile.write(path, np.zeros((0, 2)), 44100), "holds no samples"),
        (lambda path: soundfile.write(path, np.zeros((9, 4)), 44100), "it has 4 channels"),
        (
            lambda path: soundfile.write(path, np.array([[0.1], [np.nan], [np.inf]]), 44100, subtype="FLOAT"),
            "2 of its samples are NaN or infinite",
        ),
        (lambda path: None, "No such file"),
    ],
)
def test_unusable_files_say_which_and_why(tmp_path, noise, write, make, message):
    write(tmp_path / "good.wav", noise(0))
    make(tmp_path / "bad.wav")
    for reference, estimate, side in (("good.wav", "bad.wav", "estimate"), ("bad.wav", "good.wav", "reference")):
        with pytest.raises(UnusableFileError, match=f"{side} bad.wav: .*{message}"):
            load_pair(tmp_path / reference, tmp_path / estimate)


def test_files_that_end_before_their_header_says(tmp_path, noise, write):
    """A little of the end is noted; a file of which a part is missing is broken."""
    path = write(tmp_path / "a.wav", noise(0))
    content, frame = path.read_bytes(), 2 * 4
    path.write_bytes(content[: -100 * frame])
    loaded = load_pair(path, path)
    assert loaded.target.shape == (2, 44000)
    assert loaded.notes == [
        f"the {name} is 100 samples shorter than its header says" for name in ("reference", "estimate")
    ]
    path.write_bytes(content[: -5100 * frame])
    with pytest.raises(UnusableFileError, match="truncated: it ends at frame 39000, but its header promises 44100"):
        load_pair(path, path)


def test_a_wrong_suffix_does_not_matter(tmp_path, noise, write):
    write(tmp_path / "a.flac", noise(0))
    (tmp_path / "a.flac").rename(tmp_path / "a.wav")
    assert load_pair(tmp_path / "a.wav", tmp_path / "a.wav").notes == []


def test_one_sample(pair):
    assert pair(np.array([[0.5, 0.5]], np.float32)).target.shape == (2, 1)


def test_odd_containers_and_layouts(tmp_path, noise, write):
    """A FLAC of unknown length, 5.1 as Vorbis has it, floats at the scale of integers."""
    samples = noise(0, seconds=1.0)
    flac = write(tmp_path / "a.flac", samples).read_bytes()
    write(tmp_path / "b.wav", soundfile.read(tmp_path / "a.flac", dtype="float32")[0])
    (tmp_path / "a.flac").write_bytes(flac[:21] + bytes([flac[21] & 0xF0, 0, 0, 0, 0]) + flac[26:])
    loaded = load_pair(tmp_path / "b.wav", tmp_path / "a.flac")
    assert torch.equal(loaded.preds, loaded.target) and loaded.notes == []

    six = np.concatenate([noise(n, seconds=2.0) for n in range(3)], 1)
    write(tmp_path / "a.ogg", six[:, [0, 2, 1, 4, 5, 3]])
    write(tmp_path / "b.wav", six)
    loaded = load_pair(tmp_path / "b.wav", tmp_path / "a.ogg")
    assert loaded.notes[:2] == [f"the {name} is 5.1: mixed down to stereo" for name in ("reference", "estimate")]
    error = (loaded.preds - loaded.target).square().mean() / loaded.target.square().mean()
    assert error < 0.2, "a codec's; in the order of wav it is 1.4"

    write(tmp_path / "b.wav", samples * 32768)
    with pytest.raises(UnusableFileError, match=r"estimate b\.wav: its floating-point samples reach"):
        load_pair(tmp_path / "a.flac", tmp_path / "b.wav")
