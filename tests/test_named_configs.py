"""Configs that come with the package, by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ear_sat.cli.main import main
from ear_sat.named_configs import DATASET, DESCRIPTIONS, MODEL, PLAN, find_config, load_config, named_configs

ROOT = Path(__file__).parents[1]
FOLDERS = (MODEL, DATASET, PLAN)
NAMES = {name: path for folder in FOLDERS for name, path in named_configs(folder).items()}


@pytest.fixture
def sentence(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one sentence with which a command refuses its arguments."""

    def refused(*arguments: str) -> str:
        assert main(arguments) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        return error

    return refused


def test_names_are_the_files_of_the_folders_and_each_says_what_it_is_for() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).iterdir()]
    assert sorted(NAMES) == sorted(path.stem for path in files) == sorted(DESCRIPTIONS)
    for path in files:
        assert load_config(path.stem, *FOLDERS) == json.loads(path.read_text(encoding="utf-8"))


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("local").mkdir()  # no file
    assert find_config("local", DATASET) == NAMES["local"]
    Path("demo").write_text("{}", encoding="utf-8")
    assert find_config("demo", DATASET) == Path("demo")
    assert find_config("model_configs/ear_vae", MODEL) == Path("model_configs/ear_vae")  # a path, if of no file


@pytest.mark.parametrize(
    ("arguments", "close"),
    [
        (["train", "--model-config", "ear_vea", "--dataset-config", "demo"], "model config 'ear_vea'.* 'ear_vae'"),
        (["train", "--model-config", "demo", "--dataset-config", "demo"], "model config 'demo'"),
        (["train", "--model-config", "ear_vae", "--dataset-config", "dmo"], "dataset config 'dmo'.* 'demo'"),
        (["balance", "--model-config", "ear_vea", "--reference", "a", "--estimate", "b"], "model config .* 'ear_vae'"),
        (["latent-stats", "--weights", "a", "--dataset-config", "locl"], "dataset config 'locl'.* 'local'"),
        (["pre-encode", "--weights", "a", "--dataset-config", "locl", "--out", "o"], "dataset config .* 'local'"),
        (["config", "ear_vea"], "config 'ear_vea'.* 'ear_vae'"),
        (["config", "ear_vae", "--diff", "ear_vae_papr"], "config 'ear_vae_papr'.* 'ear_vae_paper'"),
    ],
)
def test_every_command_knows_names_and_says_which_is_close(
    arguments: list[str], close: str, sentence: Callable[..., str]
) -> None:
    error = sentence(*arguments)
    assert re.search(f"unknown {close}", error) and "or give the path of a JSON file" in error


def test_a_missing_path_points_to_the_names(sentence: Callable[..., str]) -> None:
    assert "no such file: absent/ear_vae.json; give the path" in (error := sentence("config", "absent/ear_vae.json"))
    assert "--list" in error


def test_the_list_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--list"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert dict(lines) == DESCRIPTIONS


def test_a_copy_keeps_the_layout_and_a_variant_the_values(tmp_path: Path) -> None:
    copy, variant = tmp_path / "copy.json", tmp_path / "variant.json"
    assert main(["config", "local", "--out", str(copy)]) == 0
    assert copy.read_bytes() == NAMES["local"].read_bytes()
    assert main(["config", "local", "--set", "datasets.0.path=~/Music", "--out", str(variant)]) == 0
    expected = load_config("local")
    expected["datasets"][0]["path"] = "~/Music"
    assert load_config(variant) == expected
