"""Fréchet audio distance: the package's own figure, by its EnCodec with random weights; no weights can be had here."""

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest

from ear_sat.errors import UserError
from ear_sat.evaluate import embeddings

RATE = 48000


def needs_package():
    if importlib.util.find_spec("frechet_audio_distance") is None:
        pytest.skip("needs frechet-audio-distance: pip install 'ear-sat[fad]'")


@pytest.fixture(scope="session")
def random_encodec(tmp_path_factory):
    """The folder of torch.hub, with a checkpoint of the real network and random weights."""
    needs_package()
    import torch
    from encodec import EncodecModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub")
    (folder / "checkpoints").mkdir()
    state = EncodecModel.encodec_model_48khz(pretrained=False).state_dict()
    torch.save(state, folder / "checkpoints" / "encodec_48khz-7e698e3e.th")
    return folder


@pytest.fixture
def hub(random_encodec, monkeypatch):
    """torch.hub looks there, in this process."""
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(random_encodec))
    embeddings.open_embedding.cache_clear()
    yield random_encodec
    embeddings.open_embedding.cache_clear()


def folders(root, write, noise):
    """References of 48 kHz, a system near them and one that is far."""
    for index in range(3):
        music = noise(index, 0.5, RATE)
        write(root / "ref" / f"{index}.wav", music, RATE)
        write(root / "near" / f"{index}.wav", music + 0.01 * noise(9 + index, 0.5, RATE), RATE)
        write(root / "far" / f"{index}.wav", 0.2 * noise(9 + index, 0.5, RATE) ** 3, RATE)
    return [text for name in ("near", "far") for text in ("--estimate", f"{name}={root / name}")]


def test_the_packages_own_figure(tmp_path, hub, write, noise, evaluate_command, capsys):
    systems = folders(tmp_path, write, noise)
    arguments = ("--reference", tmp_path / "ref", *systems, "--out", tmp_path / "out", "--audio", 0, "--fad", "encodec")
    assert evaluate_command(*arguments) == 0
    found = {row["system"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["frechet"]}
    library = embeddings.fad_class()(model_name="encodec", sample_rate=RATE, channels=2)
    for name, row in found.items():
        assert row["value"] == pytest.approx(library.score(str(tmp_path / "ref"), str(tmp_path / name)), rel=1e-6)
        assert (row["model"], row["files"], row["dimension"]) == ("encodec", 3, 128)
        assert row["embeddings"] == [3 * 75, 3 * 75] and row["note"] == ""
    assert 0 < found["near"]["value"] < found["far"]["value"]
    for text in (capsys.readouterr().out, *((tmp_path / "out" / n).read_text() for n in ("results.md", "report.html"))):
        assert "Fréchet audio distance" in text and "encodec" in text and "225, 225" in text


def test_embeddings_are_kept(tmp_path, hub, write, noise, evaluate_command, monkeypatch):
    systems = folders(tmp_path, write, noise)[:2]
    arguments = ("--reference", tmp_path / "ref", *systems, "--out", tmp_path / "out", "--audio", 0, "--fad", "encodec")
    assert evaluate_command(*arguments) == 0
    first = (tmp_path / "out" / "results.json").read_text()
    monkeypatch.setattr(embeddings, "embed", lambda *_: pytest.fail("embedded again"))
    assert evaluate_command(*arguments) == 0
    assert (tmp_path / "out" / "results.json").read_text() == first


@pytest.fixture
def parts(tmp_path, hub, write, noise, evaluate_command, monkeypatch):
    """Below it what two machines measured, a and b, and one alone; neither audio nor weights are there any more."""
    system = folders(tmp_path, write, noise)[:2]
    arguments = ("--reference", tmp_path / "ref", *system, "--audio", 0, "--fad", "encodec")
    assert evaluate_command(*arguments, "--out", tmp_path / "alone") == 0
    for rank, part in enumerate("ab"):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert evaluate_command(*arguments, "--out", tmp_path / part) == 0
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    embeddings.open_embedding.cache_clear()
    monkeypatch.setattr(embeddings.fad_class(), "__init__", lambda *_: pytest.fail("merging needs no weights"))
    for folder in ("ref", "near"):
        shutil.rmtree(tmp_path / folder)
    return tmp_path


def merged(root, evaluate_command):
    assert evaluate_command("--merge", root / "a", root / "b", "--out", root / "out", "--audio", 0) == 0
    return json.loads((root / "out" / "results.json").read_text())


def test_merging(parts, evaluate_command, monkeypatch):
    found = merged(parts, evaluate_command)
    assert found["frechet"] == json.loads((parts / "alone" / "results.json").read_text())["frechet"] != []
    assert not found["notes"]
    for file in (parts / "b" / "embeddings").iterdir():
        array, about = embeddings.read_embeddings(file), embeddings.read_about(file) | {"versions": {"torch": "0"}}
        np.savez(file, embeddings=array, about=np.bytes_(json.dumps(about).encode()))
    [row] = merged(parts, evaluate_command)["frechet"]
    assert row["note"] == "the embeddings were made with different versions of the software"
    monkeypatch.setitem(sys.modules, "frechet_audio_distance", None)
    found = merged(parts, evaluate_command)
    assert found["frechet"] == [] and "is left out: the Fréchet audio distance needs" in found["notes"][0]
    assert "pip install 'ear-sat[fad]'" in found["notes"][0]


def test_merging_without_all_embeddings(parts, evaluate_command, capsys):
    """One file is not there; one is damaged; a whole folder is not there; none is."""
    some = min((parts / "a" / "embeddings").iterdir())
    content = some.read_bytes()
    some.unlink()
    [row] = merged(parts, evaluate_command)["frechet"]
    assert row["files"] == 2 and "1 file(s) without embeddings, the first: " in row["note"]
    some.write_bytes(content[:99])
    assert evaluate_command("--merge", parts / "a", parts / "b", "--out", parts / "out") == 1
    assert f"cannot read the embeddings in {some}" in capsys.readouterr().err
    shutil.rmtree(parts / "a" / "embeddings")
    found = merged(parts, evaluate_command)
    assert found["frechet"] == [] and found["notes"] == [
        f"the Fréchet audio distance by encodec is left out: there are none of its embeddings in {parts / 'a'}; copy "
        "the folder embeddings as well, or run the command of that --out again with --fad encodec"
    ]
    assert found["notes"][0] in capsys.readouterr().out
    shutil.rmtree(parts / "b" / "embeddings")
    assert f"embeddings in {parts / 'a'} and {parts / 'b'};" in merged(parts, evaluate_command)["notes"][0]


def test_too_few_files(tmp_path, hub, write, noise, evaluate_command):
    target = write(tmp_path / "a.wav", noise(0, 0.1, RATE), RATE)
    preds = write(tmp_path / "b.wav", noise(1, 0.1, RATE), RATE)
    surround = write(tmp_path / "c.wav", np.tile(noise(1, 0.1, RATE), 3), RATE)
    arguments = ("--reference", target, "--audio", 0, "--fad", "encodec")
    assert evaluate_command(*arguments, "--estimate", preds, "--out", tmp_path / "few") == 0
    [row] = json.loads((tmp_path / "few" / "results.json").read_text())["frechet"]
    assert row["value"] > 0 and "too few files for a covariance of full rank: 15 embeddings of 128" in row["note"]
    assert evaluate_command(*arguments, "--estimate", surround, "--out", tmp_path / "none") == 0
    [row] = json.loads((tmp_path / "none" / "results.json").read_text())["frechet"]
    assert row["value"] is None and "c.wav: it has 6 channels, and encodec takes 2" in row["note"]
    assert "too few files for a covariance: 0 embedding(s)" in row["note"]


def test_clap_hears_the_same_seconds_of_a_file_and_its_reference():
    draws = []
    for name in ("song", "song", "other"):
        with embeddings._seeded(name):
            draws.append(np.random.randint(1 << 30))
    assert draws[0] == draws[1] != draws[2]


def test_without_weights(tmp_path, monkeypatch):
    """Offline, before anything is measured."""
    needs_package()
    import torch

    def refused(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refused)
    embeddings.open_embedding.cache_clear()
    with pytest.raises(UserError, match=r"weights of the embedding encodec cannot be had .* once with a connection"):
        embeddings.open_embedding("encodec")


def test_without_the_package(tmp_path, monkeypatch, write, noise, evaluate_command, capsys):
    monkeypatch.setitem(sys.modules, "frechet_audio_distance", None)
    embeddings.open_embedding.cache_clear()
    target = write(tmp_path / "a.wav", noise(0, 0.1))
    arguments = ("--reference", target, "--estimate", target, "--out", tmp_path / "out", "--fad", "vggish")
    assert evaluate_command(*arguments) == 1
    assert "pip install 'ear-sat[fad]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_scipy_that_does_not_fit(monkeypatch):
    needs_package()
    import scipy.linalg

    monkeypatch.setattr(scipy.linalg, "sqrtm", lambda matrix: matrix)
    embeddings.open_embedding.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'scipy<1.18'"):
        embeddings.open_embedding("encodec")
