"""The command from end to end: files of every kind, choices, interruptions, exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from ear_sat.cli.main import main
from ear_sat.inference import Settings, plan_jobs, reconstruct_files
from ear_sat.inference import model as opening
from ear_sat.inference.streaming import reconstruct_file
from ear_sat.models import Autoencoder
from ear_sat.weights import Source

Write = Callable[..., Path]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs ``ear-sat reconstruct IN --out OUT --weights model.pt …`` with a model that was saved whole."""

    def run(model: Autoencoder, *arguments: str) -> int:
        torch.save(model, tmp_path / "model.pt")

        def load(weights: Source, device: str = "cpu") -> Autoencoder:
            return torch.load(weights.path, map_location=device, weights_only=False)

        monkeypatch.setattr(opening, "load_autoencoder", load)
        paths = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--weights", str(tmp_path / "model.pt")]
        return main(["reconstruct", *paths, "--device", "cpu", *arguments])

    return run


def output(tmp_path: Path, name: str) -> tuple[np.ndarray, soundfile._SoundFileInfo]:
    path = tmp_path / "out" / name
    return soundfile.read(path, dtype="float32", always_2d=True)[0], soundfile.info(path)


FILES: dict[str, tuple[tuple[int, int], int, dict[str, str]]] = {
    "a.wav": ((30_001, 2), 44100, {}),
    "a.flac": ((30_001, 2), 44100, {}),
    "mono.ogg": ((10_001, 1), 48000, {}),
    "sub/deep/b.mp3": ((20_000, 2), 44100, {}),
    "96k.wav": ((48_001, 2), 96000, {"subtype": "PCM_24"}),
    "8k.aiff": ((4_001, 1), 8000, {}),
    "mislabelled.mp3": ((5_000, 2), 44100, {"format": "WAV"}),
    "one.wav": ((1, 2), 44100, {}),
    "odd.wav": ((12_347, 2), 44101, {}),
}


def test_every_kind_of_file(
    command: Callable[..., int], tiny_model: Autoencoder, write: Write, tmp_path: Path, capsys: Any
) -> None:
    for name, (shape, rate, options) in FILES.items():
        write(name, shape, rate, **options)
    assert command(tiny_model, "--chunk-seconds", "0.05") == 0
    for name, (shape, rate, _) in FILES.items():
        stem = name + ".wav" if name.startswith("a.") else str(Path(name).with_suffix(".wav"))
        audio, info = output(tmp_path, stem)
        assert (audio.shape, info.samplerate, info.subtype) == (shape, rate, "PCM_24")
        source, _ = soundfile.read(tmp_path / "in" / name, dtype="float32", always_2d=True)
        expected = tiny_model.reconstruct(torch.from_numpy(source.T), rate, chunk_seconds=None).T.numpy()
        assert np.abs(audio - expected.clip(-1, 1)).max() < 1e-5 * max(1, np.abs(expected).max()) + 2**-23
    text = capsys.readouterr().out
    assert "9 done, 0 skipped, 0 failed" in text
    assert "nothing above 22.05 kHz is left" in text


@pytest.mark.parametrize("rate", [44100, 8000])
def test_progress_sums_to_the_length(identity_model: Any, write: Write, tmp_path: Path, rate: int) -> None:
    seconds: list[float] = []
    (job,) = plan_jobs([write("a.wav", (3 * rate, 2), rate)], tmp_path / "out")
    reconstruct_file(identity_model(), job, Settings(chunk_seconds=0.2), seconds.append)
    assert len(seconds) > 10 and sum(seconds) == pytest.approx(3, rel=1e-3)


def test_a_bad_file_does_not_stop_the_others(
    command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path, capsys: Any
) -> None:
    bad = np.zeros((500, 2))
    bad[100] = np.nan
    write("nan.wav", bad, subtype="FLOAT")
    write("zero.wav", np.zeros((0, 2)))
    write("six.wav", (500, 6))
    (tmp_path / "in" / "empty.wav").write_bytes(b"")
    (tmp_path / "in" / "text.flac").write_text("no audio at all")
    write("silent.wav", np.zeros((500, 2)))
    write("direct.wav", np.full((500, 2), 0.25))
    good = write("z.wav", (500, 2), subtype="FLOAT")
    assert command(identity_model()) == 1
    captured = capsys.readouterr()
    for line in (
        "nan.wav: it holds NaN or infinite samples, the first at 0.002 s; repair it",
        "zero.wav: it holds no samples",
        "six.wav: it has 6 channels; choose --channels first, each, or downmix (surround to stereo)",
        "empty.wav: the file is empty (0 bytes)",
        "text.flac: not readable as audio",
    ):
        assert line in captured.err and line.split(": ")[-1] in captured.out
    assert "the input is silent" in captured.out and "the input is constant (DC only)" in captured.out
    assert "3 done, 0 skipped, 5 failed" in captured.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["direct.wav", "silent.wav", "z.wav"]
    assert np.abs(output(tmp_path, "z.wav")[0] - soundfile.read(good)[0]).max() < 2**-23
    assert not output(tmp_path, "silent.wav")[0].any()


@pytest.mark.parametrize(
    ("choice", "channels"),
    [("first", 2), ("downmix", 2), ("each", 6)],
)
def test_more_than_two_channels(
    choice: str, channels: int, command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path
) -> None:
    source, _ = soundfile.read(write("six.wav", (700, 6), subtype="FLOAT"), dtype="float32")
    assert command(identity_model(), "--channels", choice, "--subtype", "float") == 0
    audio, _ = output(tmp_path, "six.wav")
    assert audio.shape == (700, channels)
    if choice != "downmix":
        np.testing.assert_allclose(audio, source[:, :channels], atol=1e-6)


def test_finished_files_are_skipped(
    command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path, capsys: Any
) -> None:
    for name in ("a.wav", "b.wav"):
        write(name, (500, 2))
    assert command(identity_model()) == 0
    before = (tmp_path / "out" / "a.wav").stat().st_mtime_ns
    (tmp_path / "out" / "b.wav").unlink()
    capsys.readouterr()
    assert command(identity_model()) == 0
    assert "1 done, 1 skipped, 0 failed; --force does what is there again" in capsys.readouterr().out
    assert (tmp_path / "out" / "a.wav").stat().st_mtime_ns == before
    assert command(identity_model(), "--force") == 0
    assert (tmp_path / "out" / "a.wav").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("arguments", "peak", "word"),
    [
        ((), 1.0, "clipped"),
        (("--subtype", "float"), 1.5, "kept"),
        (("--subtype", "float", "--peaks", "clip"), 1.0, "clipped"),
        (("--peaks", "scale"), 1.0, "scaled by -3.52 dB"),
    ],
)
def test_peaks_are_reported(
    arguments: tuple[str, ...],
    peak: float,
    word: str,
    command: Callable[..., int],
    identity_model: Any,
    write: Write,
    tmp_path: Path,
    capsys: Any,
) -> None:
    loud = np.zeros((5000, 2))
    loud[100:103, 0], loud[200, 1] = 1.5, 0.75
    write("loud.wav", loud, subtype="FLOAT")
    assert command(identity_model(), *arguments) == 0
    audio, _ = output(tmp_path, "loud.wav")
    assert audio.max() == pytest.approx(peak, abs=2**-22)
    assert audio[200, 1] == pytest.approx(0.5 if "scale" in arguments else 0.75, abs=2**-22)
    assert f"3 samples above full scale (+3.52 dB), {word}" in capsys.readouterr().out


def test_draws_have_a_seed(command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path) -> None:
    write("a.wav", np.zeros((5000, 2)))
    model, heard = identity_model(std=0.1), []
    for arguments in (("--seed", "1"), ("--seed", "1", "--chunk-seconds", "0.01"), ("--seed", "2"), ()):
        assert command(model, "--sample", "--force", *arguments) == 0
        heard.append(output(tmp_path, "a.wav")[0])
    assert np.array_equal(heard[0], heard[1])
    assert not np.array_equal(heard[0], heard[2]) and not np.array_equal(heard[0], heard[3])
    assert heard[0].std() == pytest.approx(0.1, rel=0.05)


def test_chunks_batches_and_windows(
    command: Callable[..., int], tiny_model: Autoencoder, write: Write, tmp_path: Path
) -> None:
    write("a.wav", (20_000, 2))
    heard = []
    for arguments in ((), ("--chunk-seconds", "0.02", "--batch-size", "4"), ("--attention-seconds", "0.02")):
        assert command(tiny_model, "--force", "--subtype", "float", *arguments) == 0
        heard.append(output(tmp_path, "a.wav")[0])
    assert np.abs(heard[1] - heard[0]).max() < 1e-6
    assert 0 < np.abs(heard[2] - heard[0]).max() < np.abs(heard[0]).max()


@pytest.mark.parametrize(("precision", "least", "most"), [("bf16", 20, 60), ("16", 40, 80)])
def test_half_precision_costs_what_it_must(
    precision: str,
    least: float,
    most: float,
    command: Callable[..., int],
    tiny_model: Autoencoder,
    write: Write,
    tmp_path: Path,
) -> None:
    write("a.wav", (2000, 2))
    heard = []
    for arguments in ((), ("--precision", precision)):
        assert command(tiny_model, "--force", "--subtype", "float", *arguments) == 0
        heard.append(output(tmp_path, "a.wav")[0])
    snr = 10 * np.log10(np.square(heard[0]).mean() / np.square(heard[1] - heard[0]).mean())
    assert least < snr < most


def test_a_model_that_overflows_is_reported(
    command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path, capsys: Any
) -> None:
    model = identity_model()
    model.decoder.layers[0].weight.data *= 1e39  # inf
    write("a.wav", (500, 2))
    assert command(model) == 1
    assert "NaN or infinite samples; use --precision 32" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_out_of_memory_is_reported(
    command: Callable[..., int], identity_model: Any, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    write("a.wav", (500, 2))
    monkeypatch.setattr("ear_sat.inference.streaming.reconstruct_blocks", fail)
    assert command(identity_model()) == 1
    assert "out of memory; give a smaller --chunk-seconds or --batch-size" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_reported(
    command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path, capsys: Any
) -> None:
    write("sub/a.wav", (500, 2))
    write("b.wav", (500, 2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("a file where a folder should be")
    assert command(identity_model()) == 1
    captured = capsys.readouterr()
    assert "cannot write" in captured.err and "1 done, 0 skipped, 1 failed" in captured.out


def test_an_interruption_leaves_nothing_half_written(
    command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ear_sat.inference.streaming as streaming

    original, calls = streaming.join_channels, []

    def interrupt(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return original(*arguments)

    for name in ("a.wav", "b.wav"):
        write(name, (44100, 2))
    monkeypatch.setattr(streaming, "join_channels", interrupt)
    assert command(identity_model(), "--chunk-seconds", "0.1") == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]
    assert not torch.is_inference_mode_enabled()


def test_a_killed_run_leaves_nothing_behind_the_next_one(
    command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path
) -> None:
    write("a.wav", (1000, 2))
    (tmp_path / "out").mkdir()
    for name in (".a.wav.4711.tmp", ".b.wav.4711.tmp"):  # the second is another process's, for all we know
        (tmp_path / "out" / name).write_bytes(b"RIFF")
    assert command(identity_model()) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".b.wav.4711.tmp", "a.wav"]


def test_out_that_is_a_file_is_one_line(
    command: Callable[..., int], identity_model: Any, write: Write, tmp_path: Path, capsys: Any
) -> None:
    write("a.wav", (1000, 2))
    (tmp_path / "out").write_text("a file where a folder should be")
    assert command(identity_model()) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: cannot make the folder") and not captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "3"), "--seed has no effect without --sample"),
        (("--peaks", "keep"), "use --subtype float"),
        (("--batch-size", "0"), "--batch-size must be a whole number of at least 1"),
        (("--chunk-seconds", "-1"), "--chunk-seconds must be a number above 0"),
        (("--device", "abacus"), "unknown device 'abacus'"),
        (("--device", "cuda:99"), "device cuda:99"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: tuple[str, ...],
    message: str,
    command: Callable[..., int],
    identity_model: Any,
    write: Write,
    tmp_path: Path,
    capsys: Any,
) -> None:
    write("a.wav", (500, 2))
    assert command(identity_model(), *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_bar_counts_seconds_of_audio(
    identity_model: Any, write: Write, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("a.wav", 2), ("b.wav", 3)):
        write(name, (seconds * 44100, 2))
    (tmp_path / "in" / "c.wav").write_bytes(b"")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    results = reconstruct_files(identity_model(), jobs, Settings(), progress=True)
    assert [(result.outcome, result.seconds) for result in results] == [("done", 2.0), ("done", 3.0), ("failed", 0.0)]
    last = capsys.readouterr().err.split("\r")[-1]
    assert "file 3 of 3" in last and "5 of 5 s" in last and "× real time" in last
    reconstruct_files(identity_model(), jobs, Settings(), progress=False, force=True)
    assert capsys.readouterr().err.strip().endswith("the file is empty (0 bytes)")


def test_ranks_share_the_files(
    command: Callable[..., int],
    tiny_model: Autoencoder,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As torchrun and SLURM start them; the table of the last one has the rows of all."""
    for name in ("a.wav", "b.wav", "c.wav"):
        write(name, (1_000, 2))
    names = ("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    for rank, (number, size) in enumerate(names):
        monkeypatch.setenv(number, str(rank))
        monkeypatch.setenv(size, "2")
        assert command(tiny_model, "--table", str(tmp_path / "table.csv")) == 0
        monkeypatch.delenv(number)
        monkeypatch.delenv(size)
        done = sorted(path.name for path in (tmp_path / "out").glob("*.wav"))
        assert done == [["a.wav", "c.wav"], ["a.wav", "b.wav", "c.wav"]][rank]
    printed = capsys.readouterr().out
    assert "rank 0 of 2 (torchrun): 2 of 3 file(s)" in printed and "rank 1 of 2 (SLURM): 1 of 3 file(s)" in printed
    table = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in table[1:]] == ["a.wav", "b.wav", "c.wav"]
    assert all(",done," in line for line in table[1:])
