"""``--weights`` and ``--data``: reconstruct and evaluate in one go."""

import copy
import json

import numpy
import pytest
import soundfile
import torch

from ear_sat.evaluate.reconstructions import reconstruct_folder
from ear_sat.inference import Settings
from ear_sat.inference import model as opening
from ear_sat.models import Autoencoder, Decoder, Encoder, VAEBottleneck


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A checkpoint file; loading it gives a tiny random model. The list holds what was loaded."""
    torch.manual_seed(0)
    size = {"channels": 4, "c_mults": [1], "strides": [4]}
    model = Autoencoder(
        Encoder(2, latent_dim=16, **size),
        Decoder(2, latent_dim=8, **size),
        VAEBottleneck(),
        latent_dim=8,
        downsampling_ratio=4,
        sample_rate=44100,
    ).eval()
    monkeypatch.setattr(opening, "load_autoencoder", lambda path, device: copy.deepcopy(model))
    path = tmp_path / "tiny.ckpt"
    path.write_bytes(b"weights")
    return path


def results(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_one_go_equals_two_steps(tmp_path, noise, write, evaluate_command, weights):
    music = {"a": noise(0, 0.5), "album/b": noise(1, 0.3)}
    for name, samples in music.items():
        write(tmp_path / "music" / f"{name}.wav", samples)
    arguments = ("--weights", weights, "--data", tmp_path / "music", "--device", "cpu", "--audio", 0)
    assert evaluate_command(*arguments, "--out", tmp_path / "out") == 0
    (made,) = (tmp_path / "out" / "reconstructions").iterdir()
    assert made.name.startswith("tiny-")
    assert {path.relative_to(made).as_posix() for path in made.rglob("*.wav")} == {"a.wav", "album/b.wav"}
    assert soundfile.info(made / "a.wav").frames == len(music["a"])
    two_steps = (
        "--reference",
        tmp_path / "music",
        "--estimate",
        f"tiny={made}",
        "--out",
        tmp_path / "two",
        "--audio",
        0,
    )
    assert evaluate_command(*two_steps) == 0
    one, two = results(tmp_path / "out"), results(tmp_path / "two")
    assert one["summaries"] == two["summaries"] and one["systems"]["tiny"]["measured"] == 2


def test_finished_reconstructions_are_kept_until_weights_or_sources_change(
    tmp_path, noise, write, evaluate_command, weights
):
    source = write(tmp_path / "music" / "a.wav", noise(0, 0.3))
    arguments = ("--weights", weights, "--data", tmp_path / "music", "--device", "cpu", "--audio", 0)
    folder = tmp_path / "out" / "reconstructions"

    def made() -> list[tuple[str, int]]:
        assert evaluate_command(*arguments, "--out", tmp_path / "out") == 0
        return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*.wav"))

    first = made()
    assert made() == first
    write(source, noise(1, 0.3))
    again = made()
    assert [path for path, _ in again] == [path for path, _ in first] and again != first
    weights.write_bytes(b"other weights")
    assert len(made()) == 2


def test_every_setting_has_reconstructions_of_its_own(tmp_path, noise, write, weights):
    write(tmp_path / "music" / "a.wav", noise(0, 0.1))
    settings = [Settings(), Settings(sample=True), Settings(sample=True, seed=1), Settings(subtype="float")]

    def folders():
        out = tmp_path / "out"
        return [reconstruct_folder("tiny", weights, tmp_path / "music", out, one, "cpu")[0] for one in settings]

    assert len(set(folders())) == len(settings) and folders() == folders()


def test_failed_reconstructions_are_named(tmp_path, noise, write, evaluate_command, weights, capsys):
    write(tmp_path / "music" / "good.wav", noise(0, 0.3))
    write(tmp_path / "music" / "bad.wav", noise(0, 0.3)).write_bytes(b"RIFF")
    arguments = ("--weights", weights, "--data", tmp_path / "music", "--device", "cpu", "--out", tmp_path / "out")
    assert evaluate_command(*arguments) == 1
    (entry,) = results(tmp_path / "out")["unmatched"]
    assert entry["path"].endswith("bad.wav") and entry["reason"].startswith("could not be reconstructed: ")
    assert "could not be reconstructed" in capsys.readouterr().out
    assert "could not be reconstructed" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "music" / "good.wav").write_bytes(b"RIFF")
    assert evaluate_command(*arguments) == 1
    assert "none of the 2 files" in capsys.readouterr().err
    assert evaluate_command(*arguments[:-1], tmp_path) == 1
    assert f"{tmp_path / 'music'} lies in {tmp_path}, where all files count as res" in capsys.readouterr().err


def test_beside_another_system_and_inside_the_data(tmp_path, noise, write, evaluate_command, weights):
    """Results below the folder of music are not taken for music on the second run."""
    data = tmp_path / "music"
    write(data / "a.wav", noise(0, 0.3))
    write(tmp_path / "other" / "a.wav", 0.5 * noise(0, 0.3))
    arguments = ("--weights", weights, "--data", data, "--device", "cpu", "--out", data / "out", "--audio", 0)
    for _ in range(2):
        assert evaluate_command(*arguments, "--estimate", f"other={tmp_path / 'other'}") == 0
        found = results(data / "out")
        assert list(found["systems"]) == ["tiny", "other"] and len(found["files"]) == 2
        assert not found["unmatched"] and not found["notes"]


@pytest.mark.slow
def test_test_tones(tmp_path, evaluate_command, weights, capsys):
    arguments = ("--weights", weights, "--test-tones", "--device", "cpu", "--out", tmp_path / "out")
    assert evaluate_command(*arguments) == 0
    folder = tmp_path / "out" / "test_tones"
    assert json.loads((folder / "test_tones.json").read_text(encoding="utf-8"))["sample_rate"] == 44100
    assert len(list(folder.glob("*.png"))) == 4
    assert "THD" in capsys.readouterr().out and not (tmp_path / "out" / "report.html").exists()


def test_names_of_releases_and_folders_of_weights(tmp_path, noise, write, evaluate_command, weights, monkeypatch):
    """A release goes by its name, the folder of an export by its own; neither is the name of a file."""
    write(tmp_path / "music" / "a.wav", noise(0, 0.3))
    monkeypatch.setattr("ear_sat.weights.checkpoint.download", lambda name: weights)
    export = tmp_path / "my_export"
    export.mkdir()
    (export / "model.ckpt").write_bytes(b"weights")
    for given, name in (("44k", "44k"), (export, "my_export")):
        out = tmp_path / f"out-{name}"
        arguments = ("--weights", given, "--data", tmp_path / "music", "--device", "cpu", "--audio", "none")
        assert evaluate_command(*arguments, "--out", out) == 0
        (made,) = (out / "reconstructions").iterdir()
        assert made.name.startswith(f"{name}-") and list(results(out)["systems"]) == [name]


def test_a_folder_that_cannot_be_made_is_said_before_the_work(tmp_path, evaluate_command, weights, capsys):
    arguments = ("--weights", weights, "--test-tones", "--device", "cpu")
    assert evaluate_command(*arguments, "--out", weights / "out") == 1
    assert "cannot make the folder" in capsys.readouterr().err


def test_surround_is_mixed_down_on_both_sides(tmp_path, noise, write, evaluate_command, weights):
    """There is no choice of channels here: what is measured is the stereo mix of the reference."""
    six = numpy.concatenate([noise(seed, 0.3) for seed in range(3)], axis=1)
    write(tmp_path / "music" / "a.wav", six)
    arguments = ("--weights", weights, "--data", tmp_path / "music", "--device", "cpu", "--audio", "none")
    assert evaluate_command(*arguments, "--out", tmp_path / "out") == 0
    found = results(tmp_path / "out")
    assert found["systems"]["tiny"]["measured"] == 1 and not found["unmatched"]
    (made,) = (tmp_path / "out" / "reconstructions").rglob("*.wav")
    assert soundfile.info(made).channels == 2
