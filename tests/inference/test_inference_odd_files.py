"""Odd names and odd containers go through the whole command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ear_sat.errors import UserError
from ear_sat.files import MAX_NAME_BYTES, atomic_path, stale_files, temporary_path
from ear_sat.inference import Settings, plan_jobs, reconstruct_files, summarize
from ear_sat.inference.files import output_names
from ear_sat.models import Autoencoder

Write = Callable[..., Path]
CASES = Path(__file__).parents[1] / "data" / "cases"


def test_a_name_without_extension_keeps_its_dots() -> None:
    names = ["01. Intro", "mix v1.2", "song.MP3", "a.b.flac", "2. Song.m4a"]
    outputs = ["01. Intro.wav", "mix v1.2.wav", "song.wav", "a.b.wav", "2. Song.wav"]
    assert [str(name) for name in output_names([Path(name) for name in names])] == outputs


def test_names_that_would_be_too_long_are_cut() -> None:
    long = ["x" * 255, "x" * 254 + "y", "ö" * 126 + ".ogg", "z" * 251 + ".mp3", "z" * 250 + ".flac"]
    outputs = [name.name for name in output_names([Path(name) for name in long])]
    assert len(set(outputs)) == 5 and all(len(os.fsencode(name)) <= MAX_NAME_BYTES for name in outputs)
    assert outputs[3:] == ["z" * 251 + ".wav", "z" * 250 + ".wav"]
    assert all(name.endswith(".wav") for name in outputs) and outputs[0][:242] == "x" * 242


def test_temporary_names_fit(tmp_path: Path) -> None:
    for name in ("a.wav", "n" * 251 + ".wav", "ü" * 125 + ".wav"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_bytes(b"half")
            assert stale_files(tmp_path) == [temporary] == [temporary_path(tmp_path / name)]
        assert (tmp_path / name).read_bytes() == b"half" and not stale_files(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_of_any_bytes_are_reconstructed(
    identity_model: Callable[..., Autoencoder], write: Write, tmp_path: Path, capsys: Any
) -> None:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 2))
    soundfile.write(write("b.wav", audio).with_name("seed.wav"), audio, 44100)
    names = [os.fsdecode(b"caf\xe9.wav"), "n" * 251 + ".wav", "01. Intro"]
    for name in names:
        (tmp_path / "in" / name).write_bytes((tmp_path / "in" / "seed.wav").read_bytes())
    (tmp_path / "in" / os.fsdecode(b"bad\xe9.wav")).write_bytes(b"no audio")
    jobs = plan_jobs([tmp_path / "in", tmp_path / "in" / "01. Intro"], tmp_path / "out")
    model = identity_model()
    (tmp_path / "out").mkdir()
    for job in jobs:  # of a killed run
        part = temporary_path(job.output)
        part.with_name(part.name.replace(f".{os.getpid()}.", ".4194304.")).write_bytes(b"half")
    results = reconstruct_files(model, jobs, Settings(), progress=False)
    assert not summarize(results), "one of them is bad"
    assert sorted(result.outcome for result in results) == ["done"] * 5 + ["failed"]
    captured = capsys.readouterr()
    assert "5 done, 0 skipped, 1 failed" in captured.out and "caf\\xe9.wav" in captured.out
    written = {path.name for path in (tmp_path / "out").iterdir()}  # and no remnants
    assert written == {"b.wav", "seed.wav", "01. Intro.wav", *names[:2]}


def test_lists_and_archives_are_named_and_the_rest_is_done(
    identity_model: Callable[..., Autoencoder], write: Write, tmp_path: Path
) -> None:
    """An album's folder has its playlist: as ``album/*`` it comes along."""
    album = write("a.wav", (4000, 2)).parent
    for name in ("album.m3u", "album.zip", "album.tar.gz"):
        (album / name).write_text("a.wav\n")
    jobs = plan_jobs(sorted(album.iterdir()), tmp_path / "out")
    (tmp_path / "out").mkdir()
    results = {
        result.job.name: result for result in reconstruct_files(identity_model(), jobs, Settings(), progress=False)
    }
    assert results["a.wav"].outcome == "done"
    assert results["album.m3u"].notes[0].startswith("it is a list: give the files that it names")
    assert results["album.zip"].notes == ["it is an archive: unpack it (unzip album.zip)"]
    assert results["album.tar.gz"].notes == ["it is an archive: unpack it (tar -xf album.tar.gz)"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_no_input(write: Write, tmp_path: Path) -> None:
    write("a.wav", (100, 2))
    os.mkfifo(tmp_path / "in" / "b.wav")
    assert [job.name for job in plan_jobs([tmp_path / "in"], tmp_path / "out")] == ["a.wav"]
    for path in (tmp_path / "in" / "b.wav", Path(os.devnull)):
        with pytest.raises(UserError, match=r"it is a (pipe|device).*, not a file"):
            plan_jobs([path], tmp_path / "out")


@pytest.mark.parametrize("codec", ["OPUS", "VORBIS"])
def test_each_channel_of_51(
    identity_model: Callable[..., Autoencoder], write: Write, tmp_path: Path, codec: str
) -> None:
    """In the order of wav, to the last sample."""
    time = np.arange(100_000) / 48000
    tones = np.stack([0.2 * np.sin(2 * np.pi * 100 * (n + 1) * time) for n in range(6)], 1)
    write("a.ogg", tones[:, [0, 2, 1, 4, 5, 3]], 48000, subtype=codec)
    (job,) = plan_jobs([tmp_path / "in"], tmp_path / "out")
    (result,) = reconstruct_files(identity_model(48000), [job], Settings(channels="each"), progress=False)
    assert result.outcome == "done", result.notes
    audio, _ = soundfile.read(job.output)
    assert audio.shape == (100_000, 6)
    for channel in (0, 1, 2, 4, 5):  # codecs cut the LFE
        spectrum = np.abs(np.fft.rfft(audio[24000:72000, channel]))
        assert np.argmax(spectrum) == 100 * (channel + 1)


@pytest.mark.parametrize(
    "name, frames", [("m_22k_noxing.mp3", 67392), ("m_zeros_first.mp3", 133632), ("o_trunc.ogg", 0)]
)
def test_odd_containers(identity_model: Callable[..., Autoencoder], tmp_path: Path, name: str, frames: int) -> None:
    (job,) = plan_jobs([CASES / name], tmp_path / "out")
    (result,) = reconstruct_files(identity_model(), [job], Settings(), progress=False)
    if frames:
        assert result.outcome == "done" and soundfile.info(job.output).frames == frames
    else:
        assert result.outcome == "failed" and result.notes[0].startswith("truncated: ") and not job.output.exists()


def test_each_channel_of_an_opus_file_by_ffmpeg(identity_model: Callable[..., Autoencoder], tmp_path: Path) -> None:
    (job,) = plan_jobs([CASES / "o_51.opus"], tmp_path / "out")
    (result,) = reconstruct_files(identity_model(48000), [job], Settings(channels="each"), progress=False)
    assert result.outcome == "done", result.notes
    audio, _ = soundfile.read(job.output)
    assert audio.shape == (96_000, 6)
    for channel in (0, 1, 2, 4, 5):
        assert np.argmax(np.abs(np.fft.rfft(audio[24000:72000, channel]))) == 200 + 150 * channel
