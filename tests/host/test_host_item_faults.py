"""The host's folder data sets, where items cannot be used: other ones, as the host chooses them, and an end to it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from host_test_configs import RATE, SIZE
from stable_audio_tools.data.dataset import SampleDataset

from ear_sat import UserError, register
from ear_sat.host.compat import item_rejects
from ear_sat.host.compat.wrapping import ORIGINAL
from ear_sat.host.jobs import HostBuilders
from ear_sat.training.run.job import Crops

TRIES = 5  # in place of a thousand


@pytest.fixture(autouse=True)
def few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setattr(item_rejects, "MAX_IN_A_ROW", TRIES)


def write(path: Path, level: float) -> None:
    soundfile.write(path, level * np.random.default_rng(0).standard_normal((2 * SIZE, 2)), RATE)


def dataset(folder: Path, **entry: Any) -> Any:
    config = {"dataset_type": "audio_dir", "datasets": [{"id": "music", "path": str(folder), **entry}]}
    return HostBuilders().loader(config, Crops(SIZE, RATE, 2), 1, 0).dataset


def test_items_in_place_of_others_are_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_rejects, "MAX_IN_A_ROW", 1000)
    for number in range(6):
        write(tmp_path / f"{number}.wav", level=0.1 * (number % 2))  # every other one is silent
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    items = dataset(tmp_path)

    def drawn() -> list[tuple[str, torch.Tensor]]:
        random.seed(0)
        torch.manual_seed(0)
        return [(items[number][1]["path"], items[number][0]) for number in range(len(items)) for _ in range(3)]

    ours = drawn()
    monkeypatch.setattr(SampleDataset, "__getitem__", getattr(SampleDataset.__getitem__, ORIGINAL))
    theirs = drawn()
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    assert all(torch.equal(mine, yours) for (_, mine), (_, yours) in zip(ours, theirs, strict=True))
    assert {Path(path).stem for path, _ in ours} == {"1", "3", "5"}


@pytest.mark.parametrize(
    ("level", "module", "reason"),
    [
        (0.0, None, "it is silent, too short or long, or rejected"),
        (0.1, "def get_custom_metadata(info, audio): return {'__reject__': True}", "it is silent, too short or long"),
        (0.1, "def get_custom_metadata(info, audio): return 1 / 0", "division by zero"),
        (0.1, "def get_custom_metadata(info, audio): return info['text']", 'it lacks the key "text"'),
    ],
)
def test_nothing_to_use_ends_with_the_last_reason(
    level: float, module: str | None, reason: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.wav", level)
    entry = {}
    if module is not None:
        (tmp_path / "m.py").write_text(module)
        entry["custom_metadata_module"] = str(tmp_path / "m.py")
    items = dataset(tmp_path, **entry)
    for _ in range(2):  # and again
        with pytest.raises(UserError, match=rf"used {TRIES} times in a row; the last was .*a\.wav: {reason}"):
            items[0]


def test_unreadable_files_only(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=rf"used {TRIES} times in a row; the last was .*a\.wav: "):
        dataset(tmp_path)[0]


@pytest.mark.parametrize(
    ("module", "reason"),
    [("def other(): pass", "has no function get_custom_metadata"), ("import nothing_at_all", "does not import")],
)
def test_a_metadata_module_that_is_none(module: str, reason: str, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 0.1)
    (tmp_path / "m.py").write_text(module)
    with pytest.raises(UserError, match=reason):
        dataset(tmp_path, custom_metadata_module=str(tmp_path / "m.py"))


def test_a_home_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "music").mkdir()
    write(tmp_path / "music" / "a.wav", 0.1)
    (tmp_path / "m.py").write_text("def get_custom_metadata(info, audio): return {'text': 'x'}")
    items = (
        HostBuilders()
        .loader(
            {
                "dataset_type": "audio_dir",
                "datasets": [{"id": "a", "path": "~/music", "custom_metadata_module": "~/m.py"}],
            },
            Crops(SIZE, RATE, 2),
            1,
            0,
        )
        .dataset
    )
    assert items[0][1]["text"] == "x" and items[0][1]["relpath"] == "a.wav"
