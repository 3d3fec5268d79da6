"""The code blocks of README and documentation do what they say: each is run here, in order, or listed with the reason.

The examples of ``--help`` are run as well. Files that a reader would have are small stand-ins, and so are the networks
of the configs in the working folder.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from readme import DOCS, README, Block, blocks

import ear_sat
from ear_sat import named_configs
from ear_sat.cli.examples import EXAMPLES
from ear_sat.cli.main import main
from ear_sat.data import synthesise_track
from ear_sat.json_file import load_json
from ear_sat.models import Autoencoder
from ear_sat.weights import RELEASES, config_metadata, sha256, write_weights

ROOT = README.parent
RATE, SECONDS = 44100, 2.0
PROGRAMS = ("ear-sat", "python", ".venv/bin/python")
#: Pages as they are followed. docs/autoencoders.md has a test of its own: host/test_host_autoencoder_page.py.
PAGES = [
    README,
    DOCS / "getting-started.md",
    *sorted(DOCS.glob("lessons/*.md")),
    *sorted(DOCS.glob("how-to/*.md")),
    *sorted(DOCS.glob("explanation/*.md")),
]
#: Languages of blocks that are shown only, and why.
SHOWN = {"bash": "for a cluster, or for hours", "text": "a picture", "bibtex": "a citation"}
#: Commands that cannot run here.
NOT_RUN = {
    "make train": "makes an environment from the package index",
    "make train DATA=~/Music": "the same",
    "make setup": "the same",
    "make setup HOST=0.0.19": "the same",
    "python3 scripts/set_up.py": "the same",
    "pip install ear-sat": "the same",
    "pip install ear-sat[train]": "the same",
    "pip install ear-sat[sat]": "the same",
    "ear-sat train --model-config ear_vae --dataset-config local --devices 8 --num-nodes 4": "needs 32 GPUs",
    "python docs/figures/clips.py --ours runs/NAME --host runs/host": "writes the clips of the page",
    "ear-sat listening-results ann.json ben.json --out listening": "takes the answers of listeners",
    "ear-sat compare loss_forms --out study --train train --tracks development=development --dry-run": (
        "trains rounds of eleven variants; tests/compare has small plans"
    ),
}
#: First lines of blocks that a test of their own runs as printed.
ELSEWHERE = {
    "import torch\n\n\nclass": "training/test_training_own_loss.py",
    '"crest": {"type": "my_loss:CrestLoss", "weights": {"crest": 0.1}}': "training/test_training_own_loss.py",
}
#: Words of commands and code → what stands for them.
STAND_INS = {"runs/NAME": "runs/run-0", 'device="cuda"': 'device="cpu"'}
#: Released weights, which are looked for in the working folder → the config of what stands for them.
RELEASED = {"44k": "ear_vae", "48k": "ear_vae_48k"}


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page)]


def elsewhere(block: Block) -> bool:
    return any(block.text.startswith(start) for start in ELSEWHERE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_fence_is_missed(page: Path) -> None:
    assert 2 * len(blocks(page)) == page.read_text(encoding="utf-8").count("```")
    assert {block.language for block in blocks(page)} <= {"", "python", "json", *SHOWN}


def test_every_command_is_run_or_listed() -> None:
    lines = [block.commands() for block in all_blocks() if not block.language]
    lines += [Block("", "", "\n".join(examples)).commands() for examples in EXAMPLES.values()]
    commands = {" ".join(words): words[0] for line in lines for words in line}
    assert set(commands) >= set(NOT_RUN)  # what has gone from the pages goes from the list
    others = [line for line, program in commands.items() if line not in NOT_RUN and program not in PROGRAMS]
    assert not others, f"neither run nor listed: {others}"


def test_blocks_run_elsewhere_are_there() -> None:
    for start, file in ELSEWHERE.items():
        (block,) = (block for block in all_blocks() if block.text.startswith(start))
        assert block.section in (ROOT / "tests" / file).read_text(encoding="utf-8")


def narrow(part: Any) -> Any:
    """A config with small networks and short phases."""
    if isinstance(part, list):
        return [narrow(each) for each in part]
    if not isinstance(part, dict):
        return part
    part = {key: narrow(value) for key, value in part.items()}
    if part.get("type") in ("ear_encoder", "ear_decoder"):
        part["config"] = {**part.get("config", {}), "channels": 2}
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
        for place in ("data/music", "home/Music", "originals", "their_files", "decoded"):
            Path(place).mkdir(parents=True, exist_ok=True)
            gain = 0.9 if place in ("their_files", "decoded") else 1.0
            if name != "song" or place != "home/Music":
                soundfile.write(f"{place}/{name}.wav", gain * track(index), RATE)
    soundfile.write("song.mp3", track(3), RATE)
    for file, gain in (("original.wav", 1.0), ("reconstruction.wav", 0.9)):
        soundfile.write(file, gain * track(0), RATE)
    shutil.copytree(ROOT / "dataset_configs", "dataset_configs")
    demo = {**load_json("dataset_configs/demo.json"), "tracks": 2, "seconds": SECONDS}
    Path("dataset_configs/demo.json").write_text(json.dumps(demo), encoding="utf-8")
    Path("model_configs").mkdir()
    Path("docs/figures").mkdir(parents=True)
    for path in (*(ROOT / "model_configs").glob("*.json"), DOCS / "figures" / "host_demo.json"):
        path.relative_to(ROOT).write_text(json.dumps(narrow(load_json(path))), encoding="utf-8")
    Path("pre_encode.py").write_text("print('as the host has it')", encoding="utf-8")
    monkeypatch.setattr(named_configs, "named_configs", local_configs)
    monkeypatch.setenv("EAR_SAT_WEIGHTS", str(tmp_path))
    for name, config in RELEASED.items():
        weights = tmp_path / Path(RELEASES[name].filename).name
        release_like(Path("model_configs", f"{config}.json"), weights)
        monkeypatch.setitem(RELEASES, name, replace(RELEASES[name], sha256=sha256(weights)))
    return tmp_path


def local_configs(folder: str) -> dict[str, Path]:
    """Name → file in the working folder, whose networks are small."""
    names = (ROOT / folder).glob("*.json")
    return {path.stem: Path(folder, path.name) if Path(folder).is_dir() else path for path in sorted(names)}


class Reader:
    """Follows pages in the working folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        #: Trainings are the same on whatever page they stand.
        self.trained: set[str] = set()

    def follow(self, block: Block) -> None:
        if elsewhere(block) or block.language in SHOWN:
            return
        if block.language == "python":
            exec(compile(stand_in(block.text), f"{block.section}: {block.first_line}", "exec"), self.given())
        elif block.language == "json":
            use_in_the_host(block.text)
        else:
            for words in block.commands():
                if " ".join(words) not in NOT_RUN and " ".join(words) not in self.trained:
                    self.command([stand_in(word) for word in words])
                if "train" in words[1]:
                    self.trained.add(" ".join(words))

    def given(self) -> dict[str, Any]:
        """What code on the page takes as given."""
        audio = torch.from_numpy(track(0).T).float()
        given = {"audio": audio[None], "waveform": audio, "preds": 0.9 * audio[None], "target": audio[None]}
        return {**given, "sample_rate": RATE, "ear_sat": ear_sat, "model": ear_sat.load_autoencoder("44k")}

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
            patch.syspath_prepend((ROOT / words[1]).parent)  # a script imports its neighbours
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


def use_in_the_host(fragment: str) -> None:
    """Builds what ``fragment`` is a section of: a pretransform, or a training of the host's stock autoencoder."""
    from stable_audio_tools.models.factory import create_pretransform_from_config

    from ear_sat.host.jobs import HostBuilders
    from ear_sat.training.run.options import TrainOptions

    ear_sat.register()
    section = json.loads(f"{{{fragment.replace('…', '')}}}")
    if "pretransform" in section:
        assert create_pretransform_from_config(narrow(section)["pretransform"], RATE).downsampling_ratio == 1024
        return
    config = load_json(ROOT / "tests" / "data" / "host_stock_vae.json")
    stock = config["training"]["loss_configs"]
    losses = section["training"]["loss_configs"]
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
def test_the_pages_can_be_followed(folder: Path) -> None:
    for package in ("pytorch_lightning", "stable_audio_tools", "pyarrow"):
        pytest.importorskip(package)
    of_the_host(Path("their_vae"))
    reader = Reader(folder)
    for block in all_blocks():
        reader.follow(block)


@pytest.mark.slow
def test_the_examples_of_help_run(folder: Path) -> None:
    for package in ("pytorch_lightning", "stable_audio_tools", "pyarrow"):
        pytest.importorskip(package)
    reader = Reader(folder)
    for examples in EXAMPLES.values():
        reader.follow(Block("examples", "", "\n".join(examples)))
