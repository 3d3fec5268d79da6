"""The engine trains where no host is installed, and what it trains there is what it trains with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("pytorch_lightning")

from training_test_runs import ENVIRONMENT, NEW_RUN, ROOT

#: Runs ``ear-sat train`` as if the host were not there, and fails if anything of it was imported.
BLOCKED = """if True:
    import sys
    sys.modules["stable_audio_tools"] = None
    from ear_sat.cli.main import main
    code = main(["train", *sys.argv[1:]])
    assert not [name for name in sys.modules if name.startswith("stable_audio_tools.")]
    sys.exit(code)
"""


def run(folder: Path, name: str, *start: str, blocked: bool = True) -> subprocess.CompletedProcess[str]:
    flags = [*NEW_RUN, "--name", name, "--num-workers", "0", "--checkpoint-every", "2", *start]
    command = [sys.executable, *(["-c", BLOCKED] if blocked else [str(ROOT / "scripts" / "train.py")]), *flags]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def state(folder: Path, name: str) -> dict[str, Any]:
    loaded = torch.load(folder / "runs" / name / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(loaded["state_dict"])


def test_a_run_needs_no_host(folder: Path) -> None:
    done = run(folder, "alone")
    assert done.returncode == 0, done.stderr
    assert "Before and after" in done.stdout and "4 rounds" in done.stdout
    files = {path.name for path in (folder / "runs" / "alone").rglob("*") if path.is_file()}
    assert files >= {
        "last.ckpt",
        "step-2.ckpt",
        "model.safetensors",
        "metrics.csv",
        "curves.png",
        "clip-0.estimate.wav",
    }


@pytest.mark.slow
def test_a_host_changes_no_number(folder: Path) -> None:
    pytest.importorskip("stable_audio_tools")
    for name, blocked in (("alone", True), ("with", False)):
        done = run(folder, name, blocked=blocked)
        assert done.returncode == 0, done.stderr
    alone, together = state(folder, "alone"), state(folder, "with")
    assert alone.keys() == together.keys()
    assert all(torch.equal(alone[key], together[key]) for key in alone)


def test_the_package_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ear_sat"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments, words in ((["--help"], "ear-sat"), (["train", "--help"], "usage: ear-sat train")):
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and words in done.stdout
    done = subprocess.run(
        [*command, "train", "--seed", "x"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "--seed: must be a whole number of at least 0" in done.stderr


@pytest.mark.parametrize("package", ["pytorch_lightning", "ema_pytorch"])
def test_without_its_engine_training_says_what_to_install(folder: Path, package: str) -> None:
    program = BLOCKED.replace("import sys", f"import sys; sys.modules['{package}'] = None", 1)
    command = [sys.executable, "-c", program, "--model-config", "model.json", "--dataset-config", "data.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f'training needs {package}, which is not installed; run: pip install "ear-sat[train]"' in done.stderr


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.json", {"model_type": "diffusion_cond"}, "it needs stable-audio-tools, which is not installed"),
        ("data.json", {"dataset_type": "audio_dir"}, "if it is the host's: it needs stable-audio-tools"),
    ],
)
def test_what_needs_the_host_is_one_sentence(folder: Path, file: str, change: dict[str, Any], message: str) -> None:
    config = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps({**config, **change}), encoding="utf-8")
    done = run(folder, "none")
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "runs").exists()
