"""The section ``benchmarks`` of gpu_check.py: the GPU column of docs/performance.md.

Ours are timed in this process, in the trainer of the other sections; the host's, where it is installed, by bench.py in
processes of their own, at the same sizes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from importlib import util
from itertools import pairwise

import bench
import bench_step
import torch
from bench_inference import clip, ear_model
from bench_machine import MIB, WARM_UP, now, timed
from gpu_section import Section
from gpu_setting import SEED, Setting
from gpu_training import NEEDS, create, free, train, usual_precision

from ear_sat.compute import true_float32
from ear_sat.losses import LossBundle

TABLE = "Medians"
#: Calls that are timed of each.
TIMES = {"cuda": 5, "cpu": 2}
#: Row of bench.py → name of its child for the host's side.
HOST_CHILDREN = {
    "step": "step:host",
    "losses": "losses",
    "encode + decode, float32": "inference:host",
}


def run(section: Section, setting: Setting) -> None:
    argv = arguments(setting)
    args = bench.get_parser().parse_args(argv)
    ours: dict[str, Callable[[], list[float]]] = {
        "losses": lambda: _losses(args),
        "encode + decode, float32": lambda: _inference(args, "32"),
        "encode + decode, bf16": lambda: _inference(args, "bf16"),
    }
    missing = [name for name in NEEDS if util.find_spec(name) is None]
    if missing:
        section.note(f"step: left out, {' and '.join(missing)} not installed.")
    else:
        ours |= {"step": lambda: _step(args, setting, "ear")}
        ours |= {"step, discriminator in bf16": lambda: _step(args, setting, "ear-bf16")}
    section.note(f"python scripts/bench.py {' '.join(argv)}")
    for name in section.within_cap(ours):
        free(setting.device)
        seconds = ours[name]()
        memory = torch.cuda.max_memory_allocated() / MIB if setting.device == "cuda" else None
        section.row(
            TABLE, side="ear_sat", row=name, s=statistics.median(seconds), fastest_s=min(seconds), peak_MiB=memory
        )
    free(setting.device)
    reason = why_no_host(setting)
    if reason:
        section.note(f"The host's column: left out, {reason}.")
    else:
        measure_host(section, argv)


def measure_host(section: Section, argv: list[str]) -> None:
    """The host's rows, each by a child of bench.py."""
    for name in section.within_cap(HOST_CHILDREN, lambda n: f"the host's {n}"):
        result = bench.spawn(HOST_CHILDREN[name], argv)
        side = result[name]["host"] if name == "losses" else result
        seconds, memory = side["seconds"], side.get("peak_memory_mib")
        section.row(TABLE, side="host", row=name, s=statistics.median(seconds), fastest_s=min(seconds), peak_MiB=memory)


def why_no_host(setting: Setting) -> str | None:
    """The reason to measure ours alone; None for none."""
    if setting.mini:
        return "a miniature says nothing of speed"
    return "stable-audio-tools is not installed" if util.find_spec("stable_audio_tools") is None else None


def arguments(setting: Setting) -> list[str]:
    """Of bench.py: those that docs/performance.md names for its GPU column, or as small as it gets."""
    sizes = {"channels": 128, "filters": 64, "batch": 8, "samples": 65536, "width": 128, "seconds": 60}
    if setting.mini:
        sizes = {"channels": 4, "filters": 4, "batch": 1, "samples": 8192, "width": 4, "seconds": 1}
    precision = usual_precision(setting.device)
    flags = [word for key, value in sizes.items() for word in (f"--{key}", str(value))]
    return [*flags, "--repeats", "1", "--device", setting.device, "--precision", precision]


def _step(args: argparse.Namespace, setting: Setting, side: str) -> list[float]:
    """Seconds of rounds after the warm-up, of the networks and losses of bench.py's part ``step``."""
    torch.manual_seed(SEED)
    rounds = WARM_UP[setting.device] + TIMES[setting.device]
    wrapper = create(bench_step.model_config(side, args, rounds), setting.device)
    stamps: list[float] = []
    audio = 0.1 * torch.randn(args.batch, 2, args.samples)
    train(wrapper, [audio], rounds, setting, args.precision, after=lambda _: stamps.append(now(setting.device)))
    return [end - start for start, end in pairwise(stamps)][-TIMES[setting.device] :]


def _losses(args: argparse.Namespace) -> list[float]:
    torch.manual_seed(SEED)
    target = 0.1 * torch.randn(args.batch, 2, args.samples, device=args.device)
    preds = (target + 0.1 * torch.randn_like(target)).requires_grad_()
    bundle = LossBundle.from_config(bench_step.EAR_TERMS, bench_step.SAMPLE_RATE).to(args.device)
    return timed(lambda: torch.autograd.grad(bundle(preds, target).total, preds), args.device, TIMES[args.device])


def _inference(args: argparse.Namespace, precision: str) -> list[float]:
    x, model = clip(args, args.seconds), ear_model(args, precision)
    with torch.inference_mode(), true_float32():
        return timed(lambda: model.reconstruct(x, bench_step.SAMPLE_RATE), args.device, TIMES[args.device])
