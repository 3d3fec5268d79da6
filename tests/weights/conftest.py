"""Fixtures of the weight tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from weights_test_models import cloned, golden_state, tiny, write_as

import ear_sat
from ear_sat import UserError
from ear_sat.cli.main import main


class Result(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs ``ear-sat ARGS…`` in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def state() -> dict[str, Tensor]:
    """Tensors of a model, with numbers that a careless conversion changes."""
    model = tiny(transformer={"depth": 2})
    with torch.no_grad():
        model.encoder.layers[0].bias.copy_(torch.tensor([-0.0, 1e-45, 3.4e38, 1 / 3]))
    return cloned(model.state_dict())


@pytest.fixture
def names() -> Callable[[Path], list[str]]:
    """Names of everything below a folder, hidden ones too."""

    def listing(folder: Path) -> list[str]:
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

    return listing


@pytest.fixture
def refused(command: Callable[..., Result], tmp_path: Path, names: Callable[[Path], list[str]]) -> Callable[..., str]:
    """Gives ``path`` to every command that reads weights; returns the sentence they end with."""

    def check(path: Path | str) -> str:
        before = names(tmp_path)
        target = tmp_path / "out" / "new.safetensors"
        base = Path(__file__).parents[2] / "model_configs" / "ear_vae_mini.json"
        sentences = set()
        for arguments in (
            ("export", path, target),
            ("inspect", path),
            ("config", base, "--model-from", path, "--out", target.with_suffix(".json")),
        ):
            result = command(*arguments)
            assert result.code == 1 and result.out == ""
            assert result.err.startswith("error: ") and result.err.count("\n") == 1 and result.err.endswith("\n")
            sentences.add(result.err.removeprefix("error: ").rstrip("\n"))
        assert names(tmp_path) == before
        with pytest.raises(UserError) as error:
            ear_sat.load_autoencoder(path)
        sentences.add(str(error.value))
        assert len(sentences) == 1, sentences
        sentence = sentences.pop()
        assert len(sentence) < 500 and "Traceback" not in sentence and "\n" not in sentence
        return sentence

    return check


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A file as the release's."""
    return write_as("release", golden_state("tiny_transformer"), tmp_path)
