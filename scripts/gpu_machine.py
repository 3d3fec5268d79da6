"""The section ``machine`` of gpu_check.py: what it ran on, and its ceilings."""

from __future__ import annotations

import platform
import subprocess

import torch
from bench_machine import ceilings
from gpu_section import Section
from gpu_setting import Setting

from ear_sat.versions import versions

PACKAGES = ("torch", "torchaudio", "triton", "pytorch-lightning", "stable-audio-tools", "ema-pytorch", "numpy")


def run(section: Section, setting: Setting) -> None:
    """Names and versions, then each ceiling with an equal share of the time that is left."""
    for name, value in {"system": platform.platform(), **hardware(setting.device), **versions(*PACKAGES)}.items():
        section.row("Machine and versions", what=name, value=value or "not installed")
    todo = ceilings(setting.device)
    with torch.inference_mode():
        for ceiling in section.within_cap(todo, lambda c: c.key):
            budget = (0.5 if setting.mini else 0.8 * section.left) / len(todo)
            rate, size = ceiling.measure(setting.device, budget)
            section.row("Ceilings", ceiling=ceiling.key, rate=rate, size=size, of=ceiling.sizes[-1])


def hardware(device: str) -> dict[str, str | None]:
    """The device and what drives it."""
    if device != "cuda":
        return {"device": f"CPU, {torch.get_num_threads()} threads", "bfloat16 on the CPU": str(_cpu_bf16())}
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "memory": f"{properties.total_memory / 2**30:.1f} GiB",
        "compute capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "CUDA": torch.version.cuda,
        "cuDNN": str(torch.backends.cudnn.version()),
        "cuDNN rounds float32 to TF32": str(torch.backends.cudnn.allow_tf32),
    }


def _cpu_bf16() -> bool:
    from ear_sat.compute import cpu_computes_bf16

    return cpu_computes_bf16()


def _driver() -> str | None:
    """The driver's version, as its own tool tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown: nvidia-smi does not answer"
    return done.stdout.strip().splitlines()[0]
