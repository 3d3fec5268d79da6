"""Times training and the reconstruction losses against stable-audio-tools as shipped.

    python scripts/bench.py [--only step,losses,data] [--repeats 3] [--json bench.json]

step: one generator and one discriminator update; networks of the same widths, windows and data. Each repeat is a fresh
process per side, host and ear in turn. losses: our bundle with every term against the host's spectral losses, forward
and backward, in turn in one process. data: one crop of 65,536 samples from synthesised stereo tracks, flac and mp3, by
the host's SampleDataset and by ear_audio, in turn, with one worker process each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

# Nothing heavy here: a child's ru_maxrss starts from the memory of the process that launched it.
import ear_sat
from ear_sat.cli import errors
from ear_sat.config import check_choice
from ear_sat.errors import UserError
from ear_sat.report.tables import print_table


def stft_lists(sizes: str, hops: str, windows: list[int]) -> dict[str, Any]:
    """The host's three lists of STFT settings under its names for the first two; hops are a quarter of the windows."""
    return {sizes: windows, hops: [window // 4 for window in windows], "win_lengths": windows}


SIDES, BENCHMARKS = ("host", "ear"), ("step", "losses", "data")
SAMPLE_RATE, LATENT_DIM, HOP = 44100, 64, 1024
#: The host's stock windows.
DISCRIMINATOR_WINDOWS, LOSS_WINDOWS = [2048, 1024, 512, 256, 128], [2048, 1024, 512, 256, 128, 64, 32]
#: Update pairs timed in each process, loss evaluations timed per repeat, and those before that are left out.
PAIRS, LOSS_CALLS, WARM_UP = 2, 4, {"cpu": 1, "cuda": 5}
MIB = 1 << 20
#: What either side imports sooner or later; imported first, so that this memory counts on neither.
HOST_IMPORTS = ("models.factory", "training.factory", "training.autoencoders", "models.encodec", "data.dataset")
IMPORTS = (*(f"stable_audio_tools.{name}" for name in HOST_IMPORTS), "ear_sat.host.wrapper_factory", "torch._dynamo")
HOST_SPECTRAL = stft_lists("fft_sizes", "hop_sizes", LOSS_WINDOWS) | {"perceptual_weighting": True}
#: Every term and part that training uses, with their default settings: the same windows, mid, side, left and right, K.
EAR_TERMS: dict[str, Any] = {
    "magnitude": {"type": "ear_magnitude", "weights": {"log": 1.0, "convergence": 1.0}},
    "correlation": {"type": "ear_correlation", "weights": {"correlation": 1.0}},
    "phase_derivative": {"type": "ear_phase_derivative", "weights": {"if": 0.2, "gd": 0.2}},
}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", default=",".join(BENCHMARKS), help="benchmarks, by comma (default: %(default)s)")
    add("--json", type=Path, help="write every sample to this file")
    add("--repeats", type=int, default=3, help="processes for each side (default: %(default)s)")
    add("--channels", type=int, default=32, help="width of the autoencoder (default: %(default)s)")
    add("--filters", type=int, default=32, help="width of the discriminator (default: %(default)s)")
    add("--batch", type=int, default=2, help="stereo clips (default: %(default)s)")
    add("--samples", type=int, default=32768, help=f"clip length, a multiple of {HOP} (default: %(default)s)")
    add("--track-seconds", type=int, default=240, help="length of a track of the part data (default: %(default)s)")
    add("--threads", type=int, help="CPU threads (default: torch's)")
    add("--device", choices=tuple(WARM_UP), default="cpu")
    add("--precision", choices=("32", "bf16-mixed"), default="32", help="of the update (default: %(default)s)")
    add("--side", choices=(*SIDES, "losses", "data"), help=argparse.SUPPRESS)
    return parser


def model_config(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """The config of one side: the host's stock training values, or ours, at the same sizes."""
    layers: dict[str, Any] = {"filters": args.filters, "kernel_size": [3, 9], "stride": [1, 1], "dilations": [1, 2, 4]}
    training: dict[str, Any] = {"use_ema": True}
    if side == "host":
        types = ("oobleck", "oobleck", "vae", "encodec")
        layers |= stft_lists("n_ffts", "hop_lengths", DISCRIMINATOR_WINDOWS)
        losses: dict[str, Any] = {
            "spectral": {"type": "mrstft", "config": HOST_SPECTRAL, "weights": {"mrstft": 1.0}},
            "time": {"type": "l1", "config": {}, "weights": {"l1": 0.0}},
        }
    else:
        types = ("ear_encoder", "ear_decoder", "ear_vae", "ear_mrstft")
        layers["windows"], losses = DISCRIMINATOR_WINDOWS, EAR_TERMS
        # Rounds that measure each term's gradient are rare and not the host's habit: none here.
        training |= {"type": "ear", "update": "both", "gradient_log_every": 0, "log_every": 1_000_000}
    for player, rate in (("autoencoder", 1.5e-4), ("discriminator", 3e-4)):
        adamw = {"type": "AdamW", "config": {"lr": rate, "betas": [0.8, 0.99], "weight_decay": 1e-3}}
        training.setdefault("optimizer_configs", {})[player] = {"optimizer": adamw}
    adversarial = {"adversarial": 0.1, "feature_matching": 5.0}
    training["loss_configs"] = {
        "discriminator": {"type": types[3], "config": layers, "weights": adversarial},
        "bottleneck": {"type": "kl", "weights": {"kl": 1e-4}},
        **losses,
    }
    width = {"channels": args.channels, "c_mults": [1, 2, 4, 8, 16], "strides": [2, 4, 4, 4, 8], "use_snake": True}
    decoder = {"out_channels": 2, "latent_dim": LATENT_DIM, "final_tanh": False, **width}
    model = {
        "encoder": {"type": types[0], "config": {"in_channels": 2, "latent_dim": 2 * LATENT_DIM, **width}},
        "decoder": {"type": types[1], "config": decoder},
        "bottleneck": {"type": types[2]},
        **{"latent_dim": LATENT_DIM, "downsampling_ratio": HOP, "io_channels": 2},
    }
    about = {"model_type": "autoencoder", "sample_rate": SAMPLE_RATE, "sample_size": args.samples, "audio_channels": 2}
    return {**about, "model": model, "training": training}


def run_step(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the timed update pairs and peak memory in MiB, in this process."""
    import pytorch_lightning as pl
    import torch

    models, factory = [import_module(name) for name in IMPORTS][:2]
    if side == "ear":
        ear_sat.register()
    # The host alternates its players by batch, ours updates both on one.
    batches_per_pair = 2 if side == "host" else 1
    warm_up, stamps = WARM_UP[args.device], []

    class Stamp(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (batch_idx + 1) % batches_per_pair == 0:
                stamps.append(_now(args.device))

    held = 0.0 if args.device == "cuda" else _max_rss()
    torch.manual_seed(0)
    config = model_config(side, args)
    wrapper = factory.create_training_wrapper_from_config(config, models.create_model_from_config(config))
    batch: Any = (0.1 * torch.randn(args.batch, 2, args.samples), [{}] * args.batch)
    data: Any = [batch] * ((warm_up + PAIRS) * batches_per_pair)
    settings: dict[str, Any] = {"accelerator": args.device, "devices": 1, "precision": args.precision, "max_epochs": 1}
    settings |= dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(**settings, callbacks=[Stamp()])
    trainer.fit(wrapper, torch.utils.data.DataLoader(data, batch_size=None))
    peak = torch.cuda.max_memory_allocated() / MIB if args.device == "cuda" else _max_rss()
    return {
        "seconds": [end - start for start, end in zip(stamps[warm_up - 1 :], stamps[warm_up:], strict=False)],
        "peak_memory_mib": peak - held,
        "peak_memory_absolute_mib": peak,
        "parameters": sum(p.numel() for p in wrapper.autoencoder.parameters()),
        "discriminator_parameters": sum(p.numel() for p in wrapper.discriminator.parameters()),
    }


def run_losses(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each evaluation of the two sides' reconstruction losses, in turn, in this process."""
    import torch
    from stable_audio_tools.training.losses import AuralossLoss, MultiLoss, auraloss

    from ear_sat.losses import LossBundle

    torch.manual_seed(0)
    target = 0.1 * torch.randn(args.batch, 2, args.samples, device=args.device)
    preds = (target + 0.1 * torch.randn_like(target)).requires_grad_()
    # As the host's AutoencoderTrainingWrapper has it: sum and difference, then left and right at half weight.
    stereo = auraloss.SumAndDifferenceSTFTLoss(sample_rate=SAMPLE_RATE, **HOST_SPECTRAL)
    single = auraloss.MultiResolutionSTFTLoss(sample_rate=SAMPLE_RATE, **HOST_SPECTRAL)
    terms = [(stereo, "", 1.0), (single, "_left", 0.5), (single, "_right", 0.5)]
    host = MultiLoss([AuralossLoss(m, f"decoded{s}", f"reals{s}", f"mrstft{s}", weight=w) for m, s, w in terms])
    bundle = LossBundle.from_config(EAR_TERMS, SAMPLE_RATE).to(args.device)
    host.to(args.device)

    def evaluate_host() -> Any:
        cuts = {"": slice(0, 2), "_left": slice(0, 1), "_right": slice(1, 2)}
        signals = {"decoded": preds, "reals": target}
        return host({key + name: x[:, cut] for key, x in signals.items() for name, cut in cuts.items()})[0]

    evaluations = {"host": evaluate_host, "ear": lambda: bundle(preds, target).total}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for call in range(WARM_UP[args.device] + LOSS_CALLS * args.repeats):
        for side, evaluate in evaluations.items():
            start = _now(args.device)
            torch.autograd.grad(evaluate(), preds)
            if call >= WARM_UP[args.device]:
                seconds[side].append(_now(args.device) - start)
    return {side: {"seconds": values} for side, values in seconds.items()}


def _now(device: str) -> float:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def _max_rss() -> float:
    """Largest memory of this process so far, MiB; Linux counts KiB, macOS bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def run_child(args: argparse.Namespace) -> None:
    """Runs what ``--side`` names; the last line of standard output is the result."""
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device; use --device cpu")
    torch.set_num_threads(args.threads or torch.get_num_threads())
    if args.side == "data":
        from bench_data import run_data

        result = run_data(args.repeats, args.track_seconds)
    else:
        result = run_losses(args) if args.side == "losses" else run_step(args.side, args)
    result["threads"] = torch.get_num_threads()
    result["gpu"] = torch.cuda.get_device_name() if args.device == "cuda" else None
    print("\n" + json.dumps(result), flush=True)


def spawn(side: str, argv: list[str]) -> dict[str, Any]:
    """Result of ``--side`` in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), *argv, "--side", side]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip()[-1500:]
        raise UserError(f"side '{side}' ended with code {done.returncode}; mend what it says last:\n{words}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def bench_step(args: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    """Samples of both sides: the first child's result, with lists of what every child measured."""
    rounds = [{side: spawn(side, argv) for side in SIDES} for _ in range(args.repeats)]
    result: dict[str, Any] = {key: rounds[0]["ear"][key] for key in ("threads", "gpu")}
    for side in SIDES:
        runs = [children[side] for children in rounds]
        memory = {key: [run[key] for run in runs] for key in ("peak_memory_mib", "peak_memory_absolute_mib")}
        result[side] = {**runs[0], **memory, "seconds": [value for run in runs for value in run["seconds"]]}
        result[side]["median_peak_memory_mib"] = statistics.median(memory["peak_memory_mib"])
    result["memory_ratio"] = result["ear"]["median_peak_memory_mib"] / result["host"]["median_peak_memory_mib"]
    return result


def add_ratios(result: dict[str, Any]) -> None:
    """Adds medians, fastest samples and the host's time over ours."""
    for key, pick in (("median", statistics.median), ("fastest", min)):
        for side in SIDES:
            result[side][f"{key}_seconds"] = pick(result[side]["seconds"])
        result[f"{key}_speed_ratio"] = result["host"][f"{key}_seconds"] / result["ear"][f"{key}_seconds"]


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else None
    versions = {package: metadata.version(package) for package in ("torch", "stable-audio-tools", "pytorch-lightning")}
    return {"cpu": name[1] if name else platform.processor(), "cores": os.cpu_count(), **versions}


def check(args: argparse.Namespace) -> list[str]:
    """The benchmarks asked for; raises :class:`UserError` for any argument that cannot be right."""
    only = [check_choice("benchmark in --only", name.strip(), BENCHMARKS) for name in args.only.split(",")]
    for name, value in vars(args).items():
        if isinstance(value, int) and value < 1:
            raise UserError(f"--{name} must be 1 or more, not {value}")
    if args.samples % HOP or args.samples < 2 * HOP:
        raise UserError(f"--samples must be a multiple of {HOP}, at least {2 * HOP}, not {args.samples}")
    if args.json is not None and not args.json.resolve().parent.is_dir():
        raise UserError(f"no such folder: {args.json.resolve().parent}; create it or give --json another path")
    for package in ("stable_audio_tools", "pytorch_lightning"):
        if util.find_spec(package) is None:
            raise UserError(f'{package} is not installed; run: pip install "ear-sat[sat]"')
    return only


def report(results: dict[str, Any], args: argparse.Namespace) -> None:
    columns = ["", "host s", "ear s", "host/ear time", "fastest of each", "host MiB", "ear MiB", "ear/host memory"]
    rows = []
    for name, r in ((name, r) for name, r in results.items() if "median_speed_ratio" in r):
        seconds, memory = ([r[side].get(f"median_{key}") for side in SIDES] for key in ("seconds", "peak_memory_mib"))
        rows.append([name, *seconds, r["median_speed_ratio"], r["fastest_speed_ratio"], *memory, r.get("memory_ratio")])
    sizes = f"{args.batch} × {args.samples} stereo samples, {args.channels} channels, {args.filters} filters"
    notes = [
        ", ".join(f"{key} {value}" for key, value in results["machine"].items() if value is not None),
        f"Medians. step, {args.precision}: one generator and one discriminator update; peak memory above the imports"
        + (", as allocated on the GPU." if args.device == "cuda" else "."),
        "losses, float32: forward and backward; every term of ours against the host's spectral losses.",
        f"data: one stereo crop of 65,536 samples from a track of {args.track_seconds} s, one worker.",
    ]
    print_table(sizes, columns, rows, notes)


def main() -> int:
    argv = sys.argv[1:]
    args = get_parser().parse_args(argv)
    only = check(args)
    if args.side:
        run_child(args)
        return 0
    results: dict[str, Any] = {"settings": {**vars(args), "json": str(args.json)}, "machine": machine()}
    for name in only:
        result = bench_step(args, argv) if name == "step" else spawn(name, argv)
        results["machine"] |= {key: result.pop(key) for key in ("threads", "gpu")}
        parts = result if name == "data" else {name: result}  # data has a part for each format
        for part in parts.values():
            add_ratios(part)
        results |= parts
    report(results, args)
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
