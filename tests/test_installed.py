"""An installation does the whole job, beside no checkout: from a wheel, from an sdist, and an editable one.

Heavy packages are those of the environment that runs the tests, so nothing is fetched.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77")  # pyproject.toml asks for it
pytest.importorskip("pytorch_lightning")

ROOT = Path(__file__).parents[1]
FOLDERS = ("ear_sat", "model_configs", "dataset_configs", "plans", "docs")
PACKAGE = (*FOLDERS, "pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
#: As if no host were installed: what cannot be imported is not found either.
NO_HOST = 'import sys; sys.modules["stable_audio_tools"] = None\n'


class Installation:
    """A virtual environment of its own, and an empty working folder."""

    def __init__(self, folder: Path) -> None:
        self.working = folder / "working"
        self.working.mkdir()
        venv.create(folder / "venv", with_pip=True)
        self.programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.packages = Path(self.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        self.run("python", "-m", "pip", "uninstall", "-q", "-y", "setuptools")  # 3.11 and before bring an old one
        # A folder named here is searched, but its own .pth files, such as another editable ear_sat's, are not read.
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.packages / "heavy.pth").write_text("\n".join(sorted(paths)), encoding="utf-8")

    def run(self, program: str, *arguments: str | Path) -> str:
        """What a program of the environment prints, in the working folder."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.working,
            env={**environment, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def block_host(self, blocked: bool) -> None:
        file = self.packages / "no_host.pth"
        file.write_text(NO_HOST if blocked else "", encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What the package is built from; building writes into it."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in PACKAGE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "hosts"),
    [("wheel", [False, True]), ("sdist", [False]), ("editable", [True])],
    ids=lambda value: str(value),
)
def test_it_trains_by_name(kind: str, hosts: list[bool], source: Path, tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    what: list[str | Path] = ["-e", source] if kind == "editable" else [source]
    if kind == "sdist":
        subprocess.run([installation.programs / "python", "-c", BUILD_SDIST, tmp_path], cwd=source, check=True)
        what = [*tmp_path.glob("ear_sat-*.tar.gz")]
    pip = [
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--no-compile",
        "--ignore-installed",
    ]
    installation.run("python", *pip, *what)
    if kind != "editable":
        shutil.rmtree(source)

    light = "import ear_sat, sys; print(ear_sat.__file__, {'torch', 'numpy', 'scipy'} & set(sys.modules) or 'light')"
    place, weight = installation.run("python", "-c", light).split()
    package = source / "ear_sat" if kind == "editable" else installation.packages / "ear_sat"
    assert Path(place).parent == package and weight == "light"
    if kind != "editable":
        expected = {f for f in files(ROOT / "ear_sat") if "__pycache__" not in f}
        for folder in ("model_configs", "dataset_configs", "plans"):
            expected |= {f"{folder}/{file}" for file in files(ROOT / folder)}
        assert files(package) == expected | {"docs/results.csv"}
    assert "train" in installation.run("ear-sat", "--help")
    assert "ear_vae_demo" in installation.run("python", "-m", "ear_sat", "config", "--list")
    assert not [*installation.working.iterdir()]

    inputs = ["--model-config", "ear_vae_demo", "--dataset-config", "demo", "--max-steps", "2"]
    machine = ["--batch-size", "1", "--num-workers", "0", "--accelerator", "cpu"]
    for host in hosts:
        if host and importlib.util.find_spec("stable_audio_tools") is None:
            pytest.skip("needs stable-audio-tools")
        installation.block_host(not host)
        said = installation.run("ear-sat", "train", *inputs, *machine, "--name", f"host-{host}")
        assert "2 rounds" in said
        assert (installation.working / "runs" / f"host-{host}" / "export" / "model.safetensors").is_file()
