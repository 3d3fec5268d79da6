"""The released files: cached, verified, and found where a user puts them by hand. No test goes to the network."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from weights_test_models import golden_state, write_as

import ear_sat
from ear_sat import UserError
from ear_sat.weights import RELEASES, Release, download, resolve, sha256
from ear_sat.weights.released import REPOSITORY, REVISION, folder


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is "published" as 44k; the cache and the place for files by hand are empty."""
    monkeypatch.delenv("EAR_SAT_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write_as("release", golden_state("tiny_transformer"), tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(RELEASES, "44k", Release("pretrained_weight/ear_vae_44k.pyt", digest, 44100))
    return path


@pytest.fixture
def hub(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """A hub that gives the published file through a link, as the real one does; returns what it was asked for."""
    asked: list[tuple[str, str, str]] = []

    def hf_hub_download(repository: str, filename: str, *, revision: str) -> str:
        asked.append((repository, filename, revision))
        blob, link = tmp_path / "hub" / "blob", tmp_path / "hub" / "ear_vae_44k.pyt"
        if not blob.exists():
            blob.parent.mkdir(exist_ok=True)
            shutil.copy(published, blob)
            link.unlink(missing_ok=True)
            link.symlink_to(blob)
        return str(link)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return asked


def refuse(error: BaseException) -> Callable[..., str]:
    def hf_hub_download(*_: Any, **__: Any) -> str:
        raise error

    return hf_hub_download


def test_what_is_published() -> None:
    assert (REPOSITORY, REVISION) == ("earlab/EAR_VAE", "5950873f1bca6d105fb873af8b68f43b05380093")
    assert {name: (r.filename, r.sha256[:8], r.sample_rate) for name, r in RELEASES.items()} == {
        "44k": ("pretrained_weight/ear_vae_44k.pyt", "0362dc7e", 44100),
        "48k": ("pretrained_weight/ear_vae_v2_48k.pyt", "cc53f3f0", 48000),
    }
    assert all(len(release.sha256) == 64 for release in RELEASES.values())


def test_sha256_of_a_file_of_several_blocks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40_000  # 10 MB
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_download_prints_the_path(hub: list[Any], tmp_path: Path, command: Callable[..., Any]) -> None:
    result = command("download", "44k")
    assert result == (0, f"{tmp_path}/hub/ear_vae_44k.pyt\n", "")
    assert hub == [(REPOSITORY, "pretrained_weight/ear_vae_44k.pyt", REVISION)]


def test_a_name_stands_for_the_file(hub: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("44k") == tmp_path / "hub" / "ear_vae_44k.pyt"
    with pytest.warns(UserWarning, match="final_tanh = false"):
        assert ear_sat.load_autoencoder("44k").latent_dim == 32
    # A file or folder of that name is what it says.
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1)}, "44k")
    assert resolve("44k") == Path("44k") and len(hub) == 2


def test_a_wrong_checksum(hub: list[Any], tmp_path: Path, command: Callable[..., Any]) -> None:
    download("44k")
    blob = tmp_path / "hub" / "blob"
    blob.write_bytes(blob.read_bytes()[:-1] + b"\xff")
    result = command("download", "44k")
    assert result.code == 1 and result.out == ""
    assert result.err.startswith(f"error: {blob} ") and sha256(blob) in result.err and "; delete it" in result.err
    blob.unlink()  # what the sentence says mends it
    assert command("download", "44k").code == 0


def test_a_file_put_there_by_hand(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse(AssertionError("the hub was asked")))
    by_hand = tmp_path / "cache" / "ear_sat" / "ear_vae_44k.pyt"
    by_hand.parent.mkdir(parents=True)
    shutil.copy(published, by_hand)
    assert download("44k") == by_hand
    by_hand.write_bytes(b"<html>")
    with pytest.raises(UserError, match=rf"^{by_hand} is not the published file: .*delete it and try again$"):
        download("44k")
    monkeypatch.setenv("EAR_SAT_WEIGHTS", str(tmp_path / "mine"))
    shutil.copytree(tmp_path / "cache" / "ear_sat", tmp_path / "mine")
    shutil.copy(published, tmp_path / "mine" / "ear_vae_44k.pyt")
    assert download("44k") == tmp_path / "mine" / "ear_vae_44k.pyt"


def test_where_files_by_hand_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("EAR_SAT_WEIGHTS", raising=False)
    assert folder() == tmp_path / ".cache" / "ear_sat"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert folder() == tmp_path / ".cache" / "ear_sat"
    monkeypatch.setenv("EAR_SAT_WEIGHTS", "~/weights")
    assert folder() == tmp_path / "weights"


def chained() -> BaseException:
    """As huggingface_hub raises it: the reason is the cause of the cause."""
    try:
        try:
            raise OSError(101, "Network is unreachable")
        except OSError as error:
            raise ConnectionError("max retries exceeded\nwith url") from error
    except ConnectionError as error:
        outer = RuntimeError("An error happened while trying to locate the file on the Hub. Please check.\nSecond line")
        outer.__cause__ = error
        return outer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (chained(), r"\[Errno 101\] Network is unreachable"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError(""), "ValueError"),
        (RuntimeError("x" * 5000), "x" * 100),
    ],
)
def test_offline(
    error: BaseException,
    reason: str,
    published: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Any],
) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse(error))
    verbosity = huggingface_hub.utils.logging.get_verbosity()
    for arguments in (("download", "44k"), ("inspect", "44k"), ("export", "44k", tmp_path / "a.ckpt")):
        result = command(*arguments)
        assert result.code == 1 and result.out == "" and result.err.count("\n") == 1 and len(result.err) < 500
        words = r"^error: cannot download pretrained_weight/ear_vae_44k\.pyt of huggingface\.co/earlab/EAR_VAE "
        end = rf"get it by other means and put it at {tmp_path}/cache/ear_sat/ear_vae_44k\.pyt\n$"
        with pytest.raises(UserError, match=words + rf"\(.*{reason}.*\); {end}"):
            raise UserError(result.err)
    assert huggingface_hub.utils.logging.get_verbosity() == verbosity
    assert not (tmp_path / "a.ckpt").exists()


def test_really_offline(published: Path, tmp_path: Path) -> None:
    """The library itself, told to stay offline, with an empty cache; in a process of its own, where it reads that."""
    import subprocess
    import sys

    code = "import sys; from ear_sat.cli.main import main; sys.exit(main(['download', '48k']))"
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    environment["PYTHONPATH"] = str(Path(ear_sat.__file__).parents[1])
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and result.stdout == "" and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: cannot download pretrained_weight/ear_vae_v2_48k.pyt of ")
    assert result.stderr.endswith(f"put it at {tmp_path}/.cache/ear_sat/ear_vae_v2_48k.pyt\n")


def test_unknown_names(command: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="unknown release '96k'"):
        download("96k")
    with pytest.raises(SystemExit):
        command("download", "96k")
    assert "invalid choice: '96k'" in capsys.readouterr().err
