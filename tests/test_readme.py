"""The README's code blocks do what the page says: every one is run here, in order, or listed with the reason.

Files that a reader would have are small stand-ins, and so are the networks of the configs in the working folder.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from readme import README, Block, blocks

import ear_sat
from ear_sat.cli.main import main
from ear_sat.data import synthesise_track
from ear_sat.json_file import load_json
from ear_sat.models import Autoencoder
from ear_sat.weights import config_metadata, write_weights

ROOT = README.parent
RATE, SECONDS = 44100, 2.0
PROGRAMS = ("ear-sat", "python", ".venv/bin/python")
#: Commands that cannot run here.
NOT_RUN = {
    "make train": "makes an environment from the package index",
    "make train DATA=~/Music": "the same",
    "python3 scripts/set_up.py": "the same",
    "ear-sat download 44k": "fetches the weights",
    "ear-sat compare loss_forms --out study --train ~/Music/train --tracks development=~/Music/development": (
        "22 trainings of minutes; tests/compare has small plans"
    ),
    "ear-sat listening-results ann.json ben.json --out listening": "takes the answers of listeners",
    "ear-sat train --model-config ear_vae_demo --dataset-config demo --batch-size 4 --num-workers 0": (
        "test_installed.py trains by these names, beside no checkout"
    ),
}
#: First lines of blocks that a test of their own runs as printed.
ELSEWHERE = {
    "import torch": "training/test_training_own_loss.py",
    '"crest": {"type": "my_loss:CrestLoss", "weights": {"crest": 0.1}}': "training/test_training_own_loss.py",
}
#: Words of commands and code → what stands for them.
STAND_INS = {"runs/NAME": "runs/run-0", 'device="cuda"': 'device="cpu"'}


def test_no_fence_is_missed() -> None:
    assert 2 * len(blocks()) == README.read_text(encoding="utf-8").count("```") > 0
    assert {block.language for block in blocks()} <= {"", "python", "json"}


def test_every_command_is_run_or_listed() -> None:
    commands = {" ".join(words): words[0] for block in blocks() if not block.language for words in block.commands()}
    assert set(commands) >= set(NOT_RUN)  # what has gone from the page goes from the list
    others = [line for line, program in commands.items() if line not in NOT_RUN and program not in PROGRAMS]
    assert not others, f"neither run nor listed: {others}"


def test_blocks_run_elsewhere_are_there() -> None:
    sections = {block.first_line: block.section for block in blocks()}
    for first_line, file in ELSEWHERE.items():
        assert sections[first_line] in (ROOT / "tests" / file).read_text(encoding="utf-8")


def narrow(part: Any) -> Any:
    """A config with small networks and short phases."""
    if isinstance(part, list):
        return [narrow(each) for each in part]
    if not isinstance(part, dict):
        return part
    part = {key: narrow(value) for key, value in part.items()}
    if part.get("type") in ("ear_encoder", "ear_decoder"):
        part["config"] |= {"channels": 2}
    if part.get("type") == "ear_mrstft":
        part["config"]["filters"] = 2
    if "windows" in part:
        part["windows"] = [256, 128]
    if part.get("model_type") == "autoencoder":
        part["sample_size"] = 8192
    if part.get("type") == "ear" and "phases" in part:
        part["phases"] = [{**phase, "steps": 1, "lr_milestones": [], "lr_warmup_steps": 0} for phase in part["phases"]]
    return part


def track(index: int) -> Any:
    return synthesise_track(index, SECONDS, RATE, 0).T


def release_like(config: Path, weights: Path) -> None:
    """Weights of the architecture of ``config``, in the release's form."""
    torch.manual_seed(0)
    model = Autoencoder.from_config(load_json(config))
    write_weights(model.state_dict(), weights, metadata=config_metadata(load_json(config)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's working folder, with a home in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("EAR_SAT_RUN_FOLDER", raising=False)  # trainings set it
    for index, name in enumerate(("0", "1", "2", "song")):
        for place in ("data/music", "home/Music", "originals", "their_files"):
            Path(place).mkdir(parents=True, exist_ok=True)
            gain = 0.9 if place == "their_files" else 1.0
            if name != "song" or place != "home/Music":
                soundfile.write(f"{place}/{name}.wav", gain * track(index), RATE)
    soundfile.write("song.mp3", track(3), RATE)
    for file, gain in (("original.wav", 1.0), ("reconstruction.wav", 0.9)):
        soundfile.write(file, gain * track(0), RATE)
    shutil.copytree(ROOT / "dataset_configs", "dataset_configs")
    demo = {**load_json("dataset_configs/demo.json"), "tracks": 2, "seconds": SECONDS}
    Path("dataset_configs/demo.json").write_text(json.dumps(demo), encoding="utf-8")
    Path("model_configs").mkdir()
    for path in (ROOT / "model_configs").glob("*.json"):
        Path("model_configs", path.name).write_text(json.dumps(narrow(load_json(path))), encoding="utf-8")
    release_like(Path("model_configs/ear_vae.json"), Path("ear_vae_44k.pyt"))
    release_like(Path("model_configs/ear_vae_48k.json"), Path("ear_vae_v2_48k.pyt"))
    return tmp_path


class Reader:
    """Follows the page in the working folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0

    def follow(self, block: Block) -> None:
        if block.first_line in ELSEWHERE:
            return
        if block.language == "python":
            exec(compile(stand_in(block.text), f"README.md: {block.first_line}", "exec"), self.given())
        elif block.language == "json":
            train_stock_model_with(block.text)
        else:
            for words in block.commands():
                if " ".join(words) not in NOT_RUN:
                    self.command([stand_in(word) for word in words])

    def given(self) -> dict[str, Any]:
        """What code on the page takes as given."""
        audio = torch.from_numpy(track(0).T).float()
        given = {"audio": audio[None], "waveform": audio, "preds": 0.9 * audio[None], "target": audio[None]}
        return {**given, "sample_rate": RATE, "ear_sat": ear_sat, "model": ear_sat.load_autoencoder("ear_vae_44k.pyt")}

    def command(self, words: list[str]) -> None:
        """Calls what a line names, in this process: another would import for ten seconds."""
        words = [str(self.folder / "home" / word[2:]) if word.startswith("~/") else word for word in words]
        line = " ".join(words)
        if words[1] in ("train", "scripts/train.py"):
            words += self.rounds("--name" in words or "--resume" in words, "3" if "--resume" in words else "2")
        if words[0] == "ear-sat":
            assert main(words[1:]) == 0, line
            return
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        assert end.value.code == 0, line

    def rounds(self, named: bool, until: str) -> list[str]:
        """What a training is told besides: two rounds of one clip, and a name if it has none."""
        name = [] if named else ["--name", f"run-{self.runs}"]
        self.runs += 1
        return [*name, "--max-steps", until, "--batch-size", "1", "--num-workers", "0", "--accelerator", "cpu"]


def stand_in(text: str) -> str:
    """``text`` with what stands for the reader's own."""
    if "=SCALE" in text:  # latent-stats has printed it
        text = text.replace("SCALE", str(load_json("stats/latent_stats.json")["scale"]))
    for written, meant in STAND_INS.items():
        text = text.replace(written, meant)
    return text


def train_stock_model_with(fragment: str) -> None:
    """Builds a training of the host's stock autoencoder with the sections of ``fragment``."""
    from ear_sat.host.jobs import HostBuilders
    from ear_sat.training.run.options import TrainOptions

    ear_sat.register()
    config = load_json(ROOT / "tests" / "data" / "host_stock_vae.json")
    stock = config["training"]["loss_configs"]
    losses = json.loads(f"{{{fragment.replace('…', '')}}}")["training"]["loss_configs"]
    for name, entry in losses.items():
        if entry.get("config") == {}:  # "…" on the page
            entry["config"] = stock[name]["config"]
    config["training"]["loss_configs"] = losses
    HostBuilders().job(config, TrainOptions())


def of_the_host(folder: Path) -> None:
    """An autoencoder of the host's own types, with its config beside it."""
    from stable_audio_tools.models import create_model_from_config

    config = load_json(ROOT / "tests" / "data" / "host_stock_vae.json")
    folder.mkdir()
    torch.save({"state_dict": create_model_from_config(config).state_dict()}, folder / "model.ckpt")
    (folder / "model_config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.slow
def test_the_page_can_be_followed(folder: Path) -> None:
    for package in ("pytorch_lightning", "stable_audio_tools", "pyarrow"):
        pytest.importorskip(package)
    of_the_host(Path("their_vae"))
    reader = Reader(folder)
    for block in blocks():
        reader.follow(block)
