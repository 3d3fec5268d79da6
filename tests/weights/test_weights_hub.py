"""Models on the hub: named, downloaded once, described by a card, and uploaded. No test goes to the network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import EntryNotFoundError
from weights_test_models import config_of, model_of

import ear_sat
from ear_sat import UserError
from ear_sat.weights import config_metadata, read_checkpoint, write_weights
from ear_sat.weights.hub import HubName, hub_name


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder as ``--format hub`` writes it."""
    config = config_of()
    write_weights(
        model_of(config).state_dict(), tmp_path / "export", metadata=config_metadata(config, 7), file_format="hub"
    )
    return tmp_path / "export"


@pytest.fixture
def hub(tmp_path: Path, export: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """A hub that has ``ann/vae`` and its branch ``best``; returns what it was asked for."""
    asked: list[tuple[str, str, str | None]] = []
    shutil.copytree(export, tmp_path / "hub" / "main")
    shutil.copytree(export, tmp_path / "hub" / "best")
    (tmp_path / "hub" / "best" / "model_config.json").unlink()

    def hf_hub_download(repository: str, filename: str, *, revision: str | None) -> str:
        asked.append((repository, filename, revision))
        response = MagicMock(status_code=404)
        if repository != "ann/vae":
            raise RepositoryNotFoundError("404", response=response)
        folder = tmp_path / "hub" / (revision or "main")
        if not folder.is_dir():
            raise RevisionNotFoundError("404", response=response)
        if not (folder / filename).is_file():
            raise EntryNotFoundError("404")
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return asked


def test_every_command_takes_a_name(hub: list[Any], export: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    expected = read_checkpoint(export).state
    model = ear_sat.load_autoencoder("ann/vae")
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert hub == [("ann/vae", "model_config.json", None), ("ann/vae", "model.safetensors", None)]
    assert read_checkpoint("ann/vae@best").rounds == 7  # without a config of its own
    assert command("inspect", "ann/vae@best").code == 0
    assert command("export", "ann/vae", tmp_path / "a.ckpt").code == 0
    base = Path(__file__).parents[2] / "model_configs" / "ear_vae_demo.json"
    assert command("config", base, "--model-from", "ann/vae", "--out", tmp_path / "c.json").code == 0
    assert {asked[2] for asked in hub} == {None, "best"}


def test_a_checkpoint_or_parts_on_the_hub(hub: list[Any], export: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "main"
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"huggingface\.co/ann/vae has no model\.safetensors or model\.ckpt or"):
        read_checkpoint("ann/vae")
    shutil.copy(export / "model.safetensors", folder / "model-00001-of-00001.safetensors")
    keys = read_checkpoint(export).state
    index = {"weight_map": dict.fromkeys(keys, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert read_checkpoint("ann/vae").state.keys() == keys.keys()
    torch.save({"state_dict": keys}, folder / "model.ckpt")
    assert read_checkpoint("ann/vae").path == folder / "model.ckpt"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ann/none", "there is no ann/none here nor on huggingface.co that this user can see"),
        ("ann/vae@v3", "huggingface.co/ann/vae has no revision v3"),
    ],
)
def test_names_that_the_hub_does_not_know(name: str, words: str, hub: list[Any], refused: Callable[..., str]) -> None:
    assert words in refused(name)


def test_what_is_in_the_cache_needs_no_connection(
    hub: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    def offline(repository: str, filename: str, *, revision: str | None) -> str:
        path = tmp_path / "hub" / "main" / filename
        if path.is_file():
            return str(path)
        raise LocalEntryNotFoundError("not in the cache") from OSError(101, "Network is unreachable")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    assert ear_sat.load_autoencoder("ann/vae").sample_rate == 44100
    shutil.rmtree(tmp_path / "hub" / "main")
    sentence = refused("ann/vae")
    assert "model.safetensors of huggingface.co/ann/vae cannot be downloaded" in sentence
    assert "Network is unreachable" in sentence and "give its path" in sentence


def test_a_path_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for path in ("runs/a", "a", "a/b/c", "/a/b", "~/a", "./a/b", "a/model.ckpt", "ann/a.pyt", "a/b@", "44k", "a\\b"):
        assert hub_name(path) is None, path
    assert hub_name(Path("ann/vae@v1.0")) == HubName("ann/vae", "v1.0")
    (tmp_path / "ann").mkdir()
    assert hub_name("ann/vae") is None  # what would lie in a folder that is here


def evaluation(tmp_path: Path, *systems: str) -> Path:
    """A results.json as ``ear-sat evaluate`` writes it, of two metrics."""
    summary = {"mean": 9.5, "low": 9.0, "high": 10.0}
    metrics = {
        "si_sdr_db": {"label": "SI-SDR", "unit": "dB", "higher_is_better": True},
        "icpc": {"label": "ICPC", "unit": "", "higher_is_better": True},
    }
    undefined = {**summary, "mean": None}
    summaries = {"si_sdr_db": dict.fromkeys(systems, summary), "icpc": dict.fromkeys(systems, undefined)}
    found = {"systems": {s: {"measured": 3} for s in systems}, "metrics": metrics, "summaries": summaries}
    path = tmp_path / "results.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_the_card(export: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_weights(
        read_checkpoint(export).state, run / "checkpoints" / "last.ckpt", metadata=config_metadata(config_of(), 7)
    )
    data = {"dataset_type": "ear_audio", "datasets": [{"id": "songs", "path": "/secret/place"}]}
    (run / "dataset_config.json").write_text(json.dumps(data), encoding="utf-8")
    results = evaluation(tmp_path, "a")
    options = ("--format", "hub", "--results", results, "--licence", "apache-2.0")
    assert command("export", run, tmp_path / "hub", *options).code == 0
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: apache-2.0\n") and card.count("\n---\n") == 1
    assert "`ear_audio`: songs" in card and "/secret" not in card
    assert "SI-SDR (dB) ↑" in card and "9.5" in card and "ICPC" not in card and "3 file(s)" in card
    assert "44100 Hz" in card and "strides [2, 4]" in card and 'load_autoencoder("USER/NAME")' in card
    assert "ear_sat.register()" in card and "get_pretrained_model" in card
    plain = command("export", run, tmp_path / "plain", "--format", "hub", "--training-data", "My records.")
    text = (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")
    assert plain.code == 0 and "My records." in text and "Not measured." in text and "license:" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "hub", "--results", "R"), "holds several systems; choose one with --system: a, b"),
        (("--format", "hub", "--results", "R", "--system", "c"), "has no system c; choose one"),
        (("--format", "hub", "--results", "none.json"), "none.json"),
        (("--format", "hub", "--results", "CONFIG"), "is not the results.json of ear-sat evaluate"),
        (("--format", "hub", "--system", "a"), "--system is one of --results"),
        (("--format", "safetensors", "--licence", "mit"), "--licence is for the card of --format hub"),
    ],
)
def test_cards_that_cannot_be_written(
    options: tuple[str, ...], words: str, export: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    results = evaluation(tmp_path, "a", "b")
    places = {"R": str(results), "CONFIG": str(export / "model_config.json")}
    result = command("export", export, tmp_path / "new", *(places.get(option, option) for option in options))
    assert result.code == 1 and words in result.err and result.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


class Sent(NamedTuple):
    """A commit that a fake hub took."""

    repository: str
    private: bool
    revision: str | None
    files: dict[str, bytes]


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """A hub that takes everything of a user with a token."""
    sent: list[Sent] = []

    class Api:
        def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
            self.private = private

        def create_branch(self, repository: str, *, branch: str, exist_ok: bool) -> None:
            assert exist_ok

        def create_commit(
            self, repository: str, operations: list[Any], *, commit_message: str, revision: str | None
        ) -> Any:
            files = {}
            for operation in operations:
                given = operation.path_or_fileobj
                files[operation.path_in_repo] = given if isinstance(given, bytes) else Path(given).read_bytes()
            sent.append(Sent(repository, self.private, revision, files))
            return type("Done", (), {"commit_url": f"https://huggingface.co/{repository}/commit/1"})

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    return sent


@pytest.fixture
def carded(export: Path, tmp_path: Path, command: Callable[..., Any]) -> Path:
    """An export with a card."""
    assert command("export", export, tmp_path / "carded", "--format", "hub").code == 0
    return tmp_path / "carded"


def test_push(carded: Path, uploads: list[Sent], command: Callable[..., Any]) -> None:
    (carded / ".hidden.json").write_text("{}", encoding="utf-8")
    (carded / "notes.txt").write_text("mine", encoding="utf-8")
    result = command("push", carded, "ann/vae@best", "--private")
    assert result == (0, "https://huggingface.co/ann/vae/commit/1\n", "")
    (sent,) = uploads
    assert sent[:3] == ("ann/vae", True, "best")
    assert sorted(sent.files) == ["README.md", "model.safetensors", "model_config.json"]
    assert sent.files["model.safetensors"] == (carded / "model.safetensors").read_bytes()
    card = sent.files["README.md"].decode()
    assert 'load_autoencoder("ann/vae")' in card and "USER/NAME" not in card


def test_a_dry_run(carded: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    result = command("push", carded, "ann/vae", "--dry-run")
    assert result.code == 0 and "ann/vae, branch main (public if it is new)" in result.out
    assert f"{(carded / 'model.safetensors').stat().st_size:,}" in result.out
    assert "README.md" in result.out and "model_config.json" in result.out


def test_uploads_that_are_refused(
    carded: Path, export: Path, uploads: list[Sent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    def refused(*arguments: object) -> str:
        result = command("push", *arguments)
        assert result.code == 1 and result.err.count("\n") == 1 and not uploads
        return str(result.err)

    assert "is not the name of a model on the hub" in refused(carded, "vae")
    assert "no such folder" in refused(tmp_path / "none", "ann/vae")
    assert "has no README.md" in refused(export, "ann/vae")
    assert "holds none of model.safetensors" in refused(tmp_path, "ann/vae")

    def create_repo(*_: Any, **__: Any) -> None:
        raise RuntimeError("403 Forbidden\nmore") from None

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    assert "cannot upload to huggingface.co/ann/vae (403 Forbidden)" in refused(carded, "ann/vae")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "run hf auth login, or set HF_TOKEN" in refused(carded, "ann/vae")
