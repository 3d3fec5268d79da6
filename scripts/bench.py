"""Times training, losses, inference and data loading against stable-audio-tools as shipped.

    python scripts/bench.py [--only step,losses,inference,data] [--repeats 3] [--json bench.json]
    python scripts/bench.py --only curve            cost over length and batch
    python scripts/bench.py --only adversaries      our forms, several discriminators as one, and balanced rounds
    python scripts/bench.py --only latents          cost of the latent options of training
    python scripts/bench.py --only step --profile DIR   where a round of training goes: tables and a trace

step: one generator and one discriminator update; networks of the same widths, windows and data, and once more with our
discriminator's convolutions in bfloat16. losses: our bundle with every term, also in its other forms, against the
host's spectral losses, forward and backward. inference: encoding and decoding by the full network, ours as the commands
do it. data: one crop of 65,536 samples from synthesised stereo tracks, flac and mp3, with one worker process. Each
repeat of step and inference is a fresh process per side, sides in turn; losses and data take their sides in turn in one
process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any

# Nothing heavy here: a child's ru_maxrss starts from the memory of the process that launched it.
from bench_machine import WARM_UP, machine, run_ceilings
from bench_step import ADVERSARIES, HOP, report_profile

from ear_sat.checks import require_whole
from ear_sat.cli import errors
from ear_sat.config import check_choice
from ear_sat.errors import UserError
from ear_sat.host.installing import not_installed
from ear_sat.report.tables import print_table

BENCHMARKS = ("step", "losses", "inference", "data", "curve", "adversaries", "latents")
DEFAULT = BENCHMARKS[:4]
#: Row → its part, and the sides of its processes: the host's and ours.
ROWS = {
    "step": ("step", "host", "ear"),
    "step, discriminator in bf16": ("step", "host", "ear-bf16"),
    "encode + decode, float32": ("inference", "host", "32"),
    "encode + decode, bf16": ("inference", "host", "bf16"),
}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", default=",".join(DEFAULT), help="benchmarks, by comma (default: %(default)s)")
    add("--json", type=Path, help="write every sample to this file")
    add("--profile", type=Path, metavar="DIR", help="profile a round of training as well; the trace goes to DIR")
    add("--repeats", type=int, default=3, help="processes for each side (default: %(default)s)")
    add("--channels", type=int, default=32, help="width of the autoencoder that is trained (default: %(default)s)")
    add("--filters", type=int, default=32, help="width of the discriminator (default: %(default)s)")
    add("--batch", type=int, default=2, help="stereo clips (default: %(default)s)")
    add("--samples", type=int, default=32768, help=f"clip length, a multiple of {HOP} (default: %(default)s)")
    add("--width", type=int, default=128, help="width of the autoencoder in inference (default: %(default)s)")
    add("--seconds", type=int, default=8, help="clip length of inference (default: %(default)s)")
    add("--track-seconds", type=int, default=240, help="length of a track of the part data (default: %(default)s)")
    add("--threads", type=int, help="CPU threads (default: torch's)")
    add("--ceiling-seconds", type=int, default=10, help="for each ceiling of the machine (default: %(default)s)")
    add("--device", choices=tuple(WARM_UP), default="cpu")
    add(
        "--precision",
        choices=("32", "bf16-mixed", "16-mixed"),
        default="32",
        help="of the update (default: %(default)s)",
    )
    add("--compile", action="store_true", help="compile our networks")
    add("--child", help=argparse.SUPPRESS)
    return parser


def run_child(args: argparse.Namespace) -> None:
    """Runs the part and side that ``--child`` names; the last line of standard output is the result."""
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device; use --device cpu")
    torch.set_num_threads(args.threads or torch.get_num_threads())
    part, _, side = args.child.partition(":")
    if part == "data":
        from bench_data import run_data

        result = run_data(args.repeats, args.track_seconds)
    elif part == "losses":
        from bench_losses import run_losses

        result = run_losses(args)
    elif part == "latents":
        from bench_latents import run_latents

        result = run_latents(args)
    elif part in ("inference", "curve"):
        from bench_inference import run_curve, run_inference

        result = run_inference(side, args) if part == "inference" else run_curve(args)
    elif part == "ceilings":
        gpu = torch.cuda.get_device_name() if args.device == "cuda" else None
        result = {**run_ceilings(args.device, args.ceiling_seconds), "threads": torch.get_num_threads(), "gpu": gpu}
    else:
        from bench_step import run_profile, run_step

        result = run_step(side, args) if part == "step" else run_profile(args)
    print("\n" + json.dumps(result), flush=True)


def spawn(child: str, argv: list[str]) -> dict[str, Any]:
    """Result of ``--child`` in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), *argv, "--child", child]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip()[-1500:]
        raise UserError(f"the part '{child}' ended with code {done.returncode}; mend what it says last:\n{words}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def bench_processes(part: str, args: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    """The rows of ``part``, whose every sample comes from a fresh process, the sides in turn."""
    rows = {name: sides for name, (of, *sides) in ROWS.items() if of == part}
    sides = list(dict.fromkeys(side for pair in rows.values() for side in pair))
    rounds = [{side: spawn(f"{part}:{side}", argv) for side in sides} for _ in range(args.repeats)]
    merged = {side: _merged([children[side] for children in rounds]) for side in sides}
    return {name: _compared(merged[host], merged[ear]) for name, (host, ear) in rows.items()}


def _merged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The first process's result, with lists of what every process measured."""
    memory = {key: [run[key] for run in runs] for key in runs[0] if key.startswith("peak_memory")}
    seconds = [value for run in runs for value in run["seconds"]]
    median = statistics.median(memory["peak_memory_mib"])
    return {**runs[0], **memory, "seconds": seconds, "median_peak_memory_mib": median}


def _compared(host: dict[str, Any], ear: dict[str, Any]) -> dict[str, Any]:
    """Both sides with medians and fastest samples, the host's time over ours and our memory over the host's."""
    result: dict[str, Any] = {"host": dict(host), "ear": dict(ear)}
    for key, pick in (("median", statistics.median), ("fastest", min)):
        for side in ("host", "ear"):
            result[side][f"{key}_seconds"] = pick(result[side]["seconds"])
        result[f"{key}_speed_ratio"] = result["host"][f"{key}_seconds"] / result["ear"][f"{key}_seconds"]
    if "median_peak_memory_mib" in host:
        result["memory_ratio"] = ear["median_peak_memory_mib"] / host["median_peak_memory_mib"]
    return result


def check(args: argparse.Namespace) -> list[str]:
    """The benchmarks asked for; raises :class:`UserError` for any argument that cannot be right."""
    only = [check_choice("benchmark in --only", name.strip(), BENCHMARKS) for name in args.only.split(",")]
    for name, value in vars(args).items():
        if isinstance(value, int) and not isinstance(value, bool):
            require_whole(f"--{name.replace('_', '-')}", value, at_least=1)
    if args.samples % HOP or args.samples < 2 * HOP:
        raise UserError(f"--samples must be a multiple of {HOP}, at least {2 * HOP}, not {args.samples}")
    if args.json is not None and not args.json.resolve().parent.is_dir():
        raise UserError(f"no such folder: {args.json.resolve().parent}; create it or give --json another path")
    for package in ("stable_audio_tools", "pytorch_lightning"):
        if util.find_spec(package) is None:
            raise not_installed(package)
    return only


def report(results: dict[str, Any], args: argparse.Namespace) -> None:
    columns = ["", "host s", "ear s", "host/ear time", "fastest of each", "host MiB", "ear MiB", "ear/host memory"]
    rows = []
    for name, r in ((name, r) for name, r in results.items() if isinstance(r, dict) and "median_speed_ratio" in r):
        seconds, memory = (
            [r[side].get(f"median_{key}") for side in ("host", "ear")] for key in ("seconds", "peak_memory_mib")
        )
        rows.append([name, *seconds, r["median_speed_ratio"], r["fastest_speed_ratio"], *memory, r.get("memory_ratio")])
    sizes = f"{args.batch} × {args.samples} stereo samples, {args.channels} channels, {args.filters} filters"
    ceilings = results["ceilings"]
    notes = [
        ", ".join(f"{key} {value}" for key, value in results["machine"].items() if value is not None),
        "Its ceilings: "
        + ", ".join(
            f"{kind} {ceilings[f'{kind}_float32_gflops']:.3g} GFLOP/s in float32, "
            f"{ceilings[f'{kind}_bfloat16_gflops']:.3g} in bfloat16"
            for kind in ("matmul", "convolution")
        )
        + f"; copy {ceilings['copy_gb_per_s']:.3g} GB/s."
        + "".join(f" {key}: {size}, the {args.ceiling_seconds} s were up." for key, size in ceilings["capped"].items()),
        f"Medians. step, {args.precision}: one generator and one discriminator update; peak memory above the imports"
        + (", as allocated on the GPU." if args.device == "cuda" else "."),
        *_effect_of_low_precision(results),
        "losses, float32: forward and backward; every term of ours against the host's spectral losses.",
        *_real_time(results, args),
        f"data: one stereo crop of 65,536 samples from a track of {args.track_seconds} s, one worker.",
    ]
    if rows:
        print_table(sizes, columns, rows, notes)
    if "latents" in results:
        medians = {name: statistics.median(values) for name, values in results["latents"]["seconds"].items()}
        table = [[name, value, value / medians["none"]] for name, value in medians.items()]
        print_table("A generator's pass, forward and backward, float32", ["latent option", "s", "× none"], table)
    if "curve" in results:
        points = results["curve"]["points"]
        columns = ["clip s", "batch", "s", "MiB", "s per second of audio"]
        table = [[*point.values(), point["seconds"] / point["audio_seconds"] / point["batch"]] for point in points]
        print_table("Cost of encoding and decoding, float32; memory above the weights", columns, table)
    if "adversaries" in results:
        columns = ["one generator and one discriminator update", "s", "MiB"]
        table = [
            [name, statistics.median(run["seconds"]), run["median_peak_memory_mib"]]
            for name, run in results["adversaries"].items()
        ]
        print_table(sizes, columns, table)


def _effect_of_low_precision(results: dict[str, Any]) -> list[str]:
    names = ("step", "step, discriminator in bf16")
    if names[0] not in results:
        return []
    plain, low = (results[name]["ear"]["losses"] for name in names)
    keys = ("loss/discriminator", "raw/discriminator/adversarial", "raw/discriminator/feature_matching", "loss/total")
    changes = [
        f"{key.rsplit('/', 1)[-1]} {100 * (low[f'train/{key}'] / plain[f'train/{key}'] - 1):+.2g} %" for key in keys
    ]
    return [f"Losses of the last round with the discriminator in bf16, against float32: {', '.join(changes)}."]


def _real_time(results: dict[str, Any], args: argparse.Namespace) -> list[str]:
    notes = []
    for name, (part, *_) in ROWS.items():
        if part == "inference" and name in results:
            ear = results[name]["ear"]
            speed = ear["audio_seconds"] / ear["median_seconds"]
            notes.append(
                f"{name}: {ear['audio_seconds']:.3g} s of audio, {speed:.3g} × real time"
                + (f"; the first call, which compiles, {ear['first_seconds']:.3g} s." if args.compile else ".")
            )
    return notes


def main() -> int:
    argv = sys.argv[1:]
    args = get_parser().parse_args(argv)
    only = check(args)
    if args.child:
        run_child(args)
        return 0
    results: dict[str, Any] = {"settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}}
    ceilings = spawn("ceilings", argv)
    results["machine"] = {**machine(), **{key: ceilings.pop(key) for key in ("threads", "gpu")}}
    results["ceilings"] = ceilings
    for name in only:
        if name in ("curve", "latents"):
            results[name] = spawn(name, argv)
        elif name == "adversaries":
            rounds = [
                {row: spawn(f"step:{side}", argv) for row, side in ADVERSARIES.items()} for _ in range(args.repeats)
            ]
            results[name] = {row: _merged([children[row] for children in rounds]) for row in ADVERSARIES}
        elif name in ("step", "inference"):
            results |= bench_processes(name, args, argv)
        else:
            parts = spawn(name, argv)
            results |= {row: _compared(parts[row]["host"], parts[row]["ear"]) for row in parts}
    report(results, args)
    if args.profile is not None:
        args.profile.mkdir(parents=True, exist_ok=True)
        results["profile"] = spawn("profile", argv)
        report_profile(results["profile"], args, ceilings["convolution_float32_gflops"])
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
