"""ear-sat doctor: what this machine has, and what would not work on it and why.

Prints versions, stable-audio-tools, device, compiler, memory and disk. It changes nothing and needs no network; trying
the compiler takes some seconds. The exit code is 1 if something that is installed is broken; what is merely absent is
told, with the command that installs it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError, first_line

PACKAGES = ("torch", "torchaudio", "numpy", "soundfile", "pytorch_lightning", "stable-audio-tools")
#: Free space below which a full training cannot keep its checkpoints: about 3 GB each.
LEAST_DISK_GB = 20
LEAST_SHARED_GB = 1


class Finding(NamedTuple):
    """One row; ``problem`` is a sentence about what would not work, ``broken`` that it should."""

    what: str
    found: str
    problem: str = ""
    broken: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: none."""


def main(_: argparse.Namespace) -> int:
    """Looks, and prints a table and the problems; 1 if something is broken."""
    from ..report.tables import print_table

    logging.getLogger("ear_sat").setLevel(logging.ERROR)  # what checks would notify of stands in the table
    findings = examine()
    print_table("This machine", ["", ""], [[finding.what, finding.found] for finding in findings])
    problems = [finding for finding in findings if finding.problem]
    print("What would not work:" if problems else "Everything works here.")
    for finding in problems:
        print(f"  {'broken: ' if finding.broken else ''}{finding.problem}")
    return int(any(finding.broken for finding in problems))


def examine() -> list[Finding]:
    """What every check finds, in order; a check that fails itself is a finding."""
    checks: list[Callable[[], Iterator[Finding]]] = [_software, _audio, _training, _host, _device, _programs, _disk]
    return [finding for check in checks for finding in _guarded(check)]


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # whatever a broken installation raises is what is asked for
        name = check.__name__.strip("_")
        yield Finding(name, "failed", f"{name}: {type(error).__name__}: {first_line(error)}", broken=True)


def _software() -> Iterator[Finding]:
    from .. import __version__
    from ..versions import versions

    yield Finding("ear_sat", __version__)
    yield Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores")
    for name, version in versions(*PACKAGES).items():
        yield Finding(name, version or "not installed")


def _audio() -> Iterator[Finding]:
    """torchaudio fails at its import where it was built for another torch."""
    try:
        importlib.import_module("torchaudio")
    except Exception as error:  # OSError, RuntimeError, ImportError: it depends on what does not match
        yield Finding(
            "torchaudio's import",
            "fails",
            f"torchaudio does not fit torch ({first_line(error)}); install a pair of the same version",
            broken=True,
        )


def _training() -> Iterator[Finding]:
    absent = [name for name in ("pytorch_lightning", "ema_pytorch", "psutil") if not importlib.util.find_spec(name)]
    if absent:
        missing = f'training needs {", ".join(absent)}; run: pip install "ear-sat[train]"'
        yield Finding("training", "not installed", missing)
    if not importlib.util.find_spec("pyarrow"):
        needs = 'manifests in Parquet, which prepare-data writes, need pyarrow; run: pip install "ear-sat[parquet]"'
        yield Finding("Parquet", "not installed", needs)
    if not importlib.util.find_spec("ray"):
        yield Finding("Ray", "not installed", '--engine ray needs Ray; run: pip install "ear-sat[ray]"')


def _host() -> Iterator[Finding]:
    from .. import register
    from ..host.installing import not_installed

    if importlib.util.find_spec("stable_audio_tools") is None:
        absent = not_installed("stable-audio-tools")
        yield Finding("host", "none", f"latent diffusion and the host's own parts: {absent}")
        return
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # notices of packages that the host imports
            register()
    except UserError as error:
        yield Finding("host", "does not fit", str(error), broken=True)
        return
    yield Finding("host", "our types are registered")


def _device() -> Iterator[Finding]:
    import torch

    from ..compiling import can_compile
    from ..compute import choose_device, cpu_computes_bf16

    device = choose_device()
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        yield Finding("device", f"{torch.cuda.get_device_name(device)}, {free / 1e9:.1f} of {whole / 1e9:.1f} GB free")
    else:
        slow = "training a full model: there is no GPU, and a CPU trains small ones only (ear_vae_demo, ear_vae_x64)"
        yield Finding("device", device.type, slow if device.type == "cpu" else "")
    if device.type == "cpu" and not cpu_computes_bf16():
        yield Finding("bfloat16", "by software", "--precision bf16 at any speed: this CPU has no instructions for it")
    compiles = can_compile(device.type)
    needs = "Triton" if device.type == "cuda" else "a C++ compiler such as g++"
    yield Finding("compiler", "works" if compiles else "none", "" if compiles else f"--compile: it needs {needs}")


def _programs() -> Iterator[Finding]:
    import soundfile

    yield Finding("audio files", soundfile.__libsndfile_version__)
    if shutil.which("ffmpeg") is None:
        yield Finding("ffmpeg", "none", "m4a, wma and other files that libsndfile cannot read: install ffmpeg")


def _disk() -> Iterator[Finding]:
    from ..data.shared_memory import FOLDER, free_bytes

    here = Path.cwd()
    free = shutil.disk_usage(here).free / 1e9
    few = f"checkpoints of a full model: {free:.0f} GB are free in {here}, and each takes about 3 GB"
    yield Finding("disk", f"{free:.0f} GB free in {here}", few if free < LEAST_DISK_GB else "")
    if not os.access(here, os.W_OK):
        yield Finding("working folder", "read-only", f"run folders: {here} cannot be written to; use --save-dir")
    shared = free_bytes()
    if shared is not None:
        less = f"many --num-workers: {FOLDER} has {shared / 1e9:.1f} GB; docker run --shm-size=8g gives it more"
        yield Finding("shared memory", f"{shared / 1e9:.1f} GB free", less if shared < LEAST_SHARED_GB * 1e9 else "")
