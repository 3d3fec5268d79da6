"""A disk that takes no more: one sentence, exit code 1, nothing half-written, and the same command goes on later."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ear_sat.cli.main import main
from ear_sat.models import Autoencoder
from ear_sat.report.audio import save_audio
from ear_sat.weights import config_metadata, write_weights

pytestmark = pytest.mark.slow
RATE = 44100
SIZES = {"channels": 4, "c_mults": [1, 2], "strides": [4, 8]}
CONFIG = {
    "model_type": "autoencoder",
    "sample_rate": RATE,
    "model": {
        "encoder": {"type": "ear_encoder", "config": {"in_channels": 2, "latent_dim": 64, **SIZES}},
        "decoder": {"type": "ear_decoder", "config": {"out_channels": 2, "latent_dim": 32, **SIZES}},
        "bottleneck": {"type": "ear_vae", "config": {}},
        "latent_dim": 32,
        "downsampling_ratio": 32,
        "io_channels": 2,
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights and three clips of music."""
    monkeypatch.chdir(tmp_path)
    write_weights(Autoencoder.from_config(CONFIG).state_dict(), "w.safetensors", metadata=config_metadata(CONFIG))
    Path("music").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 0.1, (2 * RATE, 2))
        soundfile.write(f"music/{number}.wav", noise, RATE, subtype="PCM_16")
    return tmp_path


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """While open, no file of this process and of those that it starts grows beyond ``size`` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def remnants(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]


ENCODING = ["--weights", "w.safetensors", "--data", "music", "--sample-size", "65536", "--device", "cpu"]
EVALUATE = ["evaluate", "--reference", "music", "--estimate", "a=music", "--audio", "1", "--processes"]
#: Bytes that a file may have, and the command without its --out.
COMMANDS = {
    "evaluate, a result": (600, [*EVALUATE, "2"]),
    "evaluate, the results": (4000, [*EVALUATE, "1"]),
    "evaluate, the page": (40_000, [*EVALUATE, "1"]),
    "evaluate, tones": (4000, ["evaluate", "--weights", "w.safetensors", "--test-tones", "--device", "cpu"]),
    "latent-stats, numbers": (1000, ["latent-stats", *ENCODING]),
    "latent-stats, picture": (20_000, ["latent-stats", *ENCODING]),
    "pre-encode": (10_000, ["pre-encode", *ENCODING]),
    "prepare-data, database": (8000, ["prepare-data", "music", "--processes", "1"]),
    "prepare-data, manifest": (17_000, ["prepare-data", "music", "--processes", "1", "--min-loudness=-inf"]),
    "prepare-data, shards": (60_000, ["prepare-data", "music", "--min-loudness=-inf", "--processes", "2", "--shards"]),
}


@pytest.mark.parametrize(("size", "command"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_cannot_write(
    size: int, command: list[str], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with largest_file(size):
        assert main([*command, "--out", "out"]) == 1
    err = capfd.readouterr().err
    (sentence,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err and "cannot write" in sentence and "free some space" in sentence
    assert not remnants(folder)
    assert all(path.with_suffix(".npy").exists() for path in (folder / "out").glob("[0-9]/*.json"))
    assert main([*command, "--out", "out"]) == 0


def test_weights_that_cannot_be_written(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for target in (["a.ckpt"], ["a.pyt"], ["a.safetensors"], ["hub", "--format", "hub"]):
        with largest_file(10_000):
            assert main(["export", "w.safetensors", *target]) == 1
        assert capfd.readouterr().err.startswith(f"error: cannot write {target[0]}: ")
        assert not Path(target[0]).exists() and not remnants(folder)
        assert main(["export", "w.safetensors", *target]) == 0


RECONSTRUCT = ["reconstruct", "music", "--weights", "w.safetensors", "--out", "out", "--device", "cpu"]


@pytest.mark.parametrize("more", [[], ["--peaks", "scale"], ["--subtype", "float"]])
def test_reconstructions_that_grow_too_large(more: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with largest_file(300_000):
        assert main([*RECONSTRUCT, *more]) == 1
    out, err = capfd.readouterr()
    assert "0 done, 0 skipped, 3 failed" in out and "Traceback" not in err
    assert err.count("cannot write out/") == 3
    assert not list((folder / "out").iterdir())


def test_a_full_disk_ends_the_reconstruction_of_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    replace: Callable[..., None] = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "1.wav":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert main(RECONSTRUCT) == 1
    err = capfd.readouterr().err
    assert "error: cannot write out/1.wav: No space left on device; what is finished is kept: free some space" in err
    assert [path.name for path in (folder / "out").iterdir()] == ["0.wav"]
    assert main(RECONSTRUCT) == 0
    assert "2 done, 1 skipped, 0 failed" in capfd.readouterr().out


def test_a_clip_of_a_demo_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    import torch

    with largest_file(10_000), pytest.raises(OSError, match="so large"):
        save_audio(tmp_path / "a.wav", torch.zeros(2, 44100), RATE)
    assert not list(tmp_path.iterdir())
