"""A loss term of the user's own, as its page tells it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from readme import DOCS, blocks

from ear_sat.errors import UserError
from ear_sat.losses import LossBundle, is_loss_type

pytest.importorskip("pytorch_lightning")

ROOT = Path(__file__).parents[2]
PAGE = DOCS / "how-to" / "own-loss.md"
CODE, ENTRY = (block.text for block in blocks(PAGE) if block.section == "Your own loss term")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder, and a narrow config with the page's entry in a folder of its own."""
    (tmp_path / "configs").mkdir()
    config = json.loads((ROOT / "model_configs" / "ear_vae_mini.json").read_text(encoding="utf-8"))
    config["sample_size"] = 4096
    for part in ("encoder", "decoder"):
        config["model"][part]["config"].update(channels=2)
    training = config["training"]
    training.update(phases=[{"name": "train", "steps": 1}], demo={"demo_every": 9}, log_every=1, use_ema=False)
    del training["ema"]
    magnitude = training["loss_configs"]["magnitude"]
    training["loss_configs"] = {"magnitude": magnitude, **json.loads(f"{{{ENTRY}}}")}
    write(tmp_path, config)
    data = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 1.0, "crops_per_track": 2}
    (tmp_path / "data.json").write_text(json.dumps(data), encoding="utf-8")
    return tmp_path


def write(folder: Path, config: dict[str, Any]) -> None:
    (folder / "configs" / "model.json").write_text(json.dumps(config), encoding="utf-8")


def train(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--model-config", "configs/model.json"]
    command += ["--dataset-config", "data.json", "--batch-size", "2", "--num-workers", "0", "--accelerator", "cpu"]
    done = subprocess.run([*command, *flags], cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("place", [".", "configs"])
def test_the_readmes_loss_trains(folder: Path, place: str) -> None:
    (folder / place / "my_loss.py").write_text(CODE, encoding="utf-8")
    done = train(folder, "--name", "run")
    assert done.returncode == 0, done.stderr
    header, _, row = (folder / "runs" / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()[:3]
    assert float(dict(zip(header.split(","), row.split(","), strict=True))["train/raw/crest/crest"]) > 0


@pytest.mark.slow
def test_a_registered_name_comes_with_an_import(folder: Path) -> None:
    (folder / "mine.py").write_text(f"{CODE}\nimport ear_sat\near_sat.register_loss('my_crest', CrestLoss)\n")
    config = json.loads((folder / "configs" / "model.json").read_text(encoding="utf-8"))
    config["training"]["loss_configs"]["crest"]["type"] = "my_crest"
    write(folder, config)
    done = train(folder)
    assert done.returncode == 1 and "unknown loss type in loss_configs.crest 'my_crest'" in done.stderr
    done = train(folder, "--import", "mine")
    assert done.returncode == 0, done.stderr
    done = train(folder, "--import", "nowhere")
    assert done.returncode == 1 and "--import nowhere failed (No module named 'nowhere')" in done.stderr


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nowhere:CrestLoss", "cannot be imported .*put nowhere.py into the working folder or beside the config"),
        ("torch.nn:L1Los", "in the module torch.nn 'L1Los'.*did you mean 'L1Loss'"),
        (":Loss", "cannot be imported"),
    ],
)
def test_what_cannot_be_found_is_said(kind: str, message: str) -> None:
    assert is_loss_type(kind)
    with pytest.raises(UserError, match=message):
        LossBundle.from_config({"a": {"type": kind, "weights": {"x": 1.0}}}, 44100)
