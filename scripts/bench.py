"""Times training and the reconstruction losses against stable-audio-tools as shipped.

    python scripts/bench.py [--only step,losses] [--repeats 3] [--json bench.json]

``step``: one generator and one discriminator update of the same networks, windows and data. Every repeat starts a fresh
process for each side, host and ear in turn; peak memory is what the process took above its imports.
``losses``: our bundle with every term against the host's spectral losses, forward and backward, in turn in one process.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Nothing heavy here: a child's ru_maxrss starts from the memory of the process that launched it.
from ear_sat.errors import UserError
from ear_sat.report.tables import print_table

SIDES, BENCHMARKS = ("host", "ear"), ("step", "losses")
STRIDES, C_MULTS, LATENT_DIM, HOP = [2, 4, 4, 4, 8], [1, 2, 4, 8, 16], 64, 1024
#: The host's stock windows, hop a quarter of each.
LOSS_WINDOWS, DISCRIMINATOR_WINDOWS = [2048, 1024, 512, 256, 128, 64, 32], [2048, 1024, 512, 256, 128]
SAMPLE_RATE = 44100
#: Update pairs timed in each process after those left out of the timing, and loss evaluations for each repeat.
PAIRS, LOSS_CALLS = 2, 4
WARM_UP = {"cpu": 1, "cuda": 5}
MIB = 1 << 20
#: What the two sides import at different moments; done first, so that the memory of imports counts on neither side.
IMPORTS = (
    "torch._dynamo",
    "stable_audio_tools.training.autoencoders",
    "stable_audio_tools.models.encodec",
    "stable_audio_tools.data.dataset",
    "ear_sat.host.wrapper_factory",
)
#: The host's stock weights; its own spectral losses have no further ones. Ours: every term.
KL_WEIGHT, ADVERSARIAL_WEIGHTS = 1e-4, {"adversarial": 0.1, "feature_matching": 5.0}
EAR_TERMS: dict[str, Any] = {
    "magnitude": {
        "type": "ear_magnitude",
        "config": {"windows": LOSS_WINDOWS, "channels": "mslr", "weighting": "k"},
        "weights": {"log": 1.0, "convergence": 1.0},
    },
    "correlation": {"type": "ear_correlation", "config": {"windows": LOSS_WINDOWS}, "weights": {"correlation": 1.0}},
    "phase": {
        "type": "ear_phase_derivative",
        "config": {"windows": LOSS_WINDOWS, "channels": "lr"},
        "weights": {"if": 0.2, "gd": 0.2},
    },
}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default=",".join(BENCHMARKS), help="benchmarks to run, by comma (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="processes for each side (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument("--channels", type=int, default=32, help="width of the autoencoder (default: %(default)s)")
    parser.add_argument("--filters", type=int, default=32, help="width of the discriminator (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="clips (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=32768, help=f"clip length, multiple of {HOP} (%(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("32", "bf16-mixed"), default="32", help="of the training step")
    parser.add_argument("--side", choices=(*SIDES, "losses"), help=argparse.SUPPRESS)
    return parser


def stft_config(windows: list[int], sizes: str) -> dict[str, list[int]]:
    """The host's three lists; ``sizes`` is its name for the first."""
    return {sizes: windows, "hop_sizes" if sizes == "fft_sizes" else "hop_lengths": [w // 4 for w in windows]} | {
        "win_lengths": windows
    }


def host_spectral_config() -> dict[str, Any]:
    return {**stft_config(LOSS_WINDOWS, "fft_sizes"), "perceptual_weighting": True}


def model_config(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """The config of one side: the same sizes under the type names of that side."""
    width = {"channels": args.channels, "c_mults": C_MULTS, "strides": STRIDES, "use_snake": True}
    encoder = {"in_channels": 2, "latent_dim": 2 * LATENT_DIM, **width}
    decoder = {"out_channels": 2, "latent_dim": LATENT_DIM, "final_tanh": False, **width}
    layers = {"filters": args.filters, "kernel_size": [3, 9], "stride": [1, 1], "dilations": [1, 2, 4]}
    adamw = {"betas": [0.8, 0.99], "weight_decay": 1e-3}
    training: dict[str, Any] = {
        "use_ema": True,
        "optimizer_configs": {
            "autoencoder": {"optimizer": {"type": "AdamW", "config": {"lr": 1.5e-4, **adamw}}},
            "discriminator": {"optimizer": {"type": "AdamW", "config": {"lr": 3e-4, **adamw}}},
        },
    }
    kl = {"type": "kl", "weights": {"kl": KL_WEIGHT}}
    if side == "host":
        names = {"encoder": "oobleck", "decoder": "oobleck", "bottleneck": "vae"}
        discriminator = {"type": "encodec", "config": {**layers, **stft_config(DISCRIMINATOR_WINDOWS, "n_ffts")}}
        losses = {
            "spectral": {"type": "mrstft", "config": host_spectral_config(), "weights": {"mrstft": 1.0}},
            "time": {"type": "l1", "config": {}, "weights": {"l1": 0.0}},
        }
    else:
        names = {"encoder": "ear_encoder", "decoder": "ear_decoder", "bottleneck": "ear_vae"}
        discriminator = {"type": "ear_mrstft", "config": {**layers, "windows": DISCRIMINATOR_WINDOWS}}
        losses = EAR_TERMS
        # The host measures neither, and alternates its players: one pair is two of its batches, one of ours.
        training |= {"type": "ear", "update": "both", "gradient_log_every": 0, "log_every": 1_000_000}
    training["loss_configs"] = {
        "discriminator": {**discriminator, "weights": ADVERSARIAL_WEIGHTS},
        **losses,
        "bottleneck": kl,
    }
    return {
        "model_type": "autoencoder",
        "sample_rate": SAMPLE_RATE,
        "sample_size": args.samples,
        "audio_channels": 2,
        "model": {
            "encoder": {"type": names["encoder"], "config": encoder},
            "decoder": {"type": names["decoder"], "config": decoder},
            "bottleneck": {"type": names["bottleneck"]},
            "latent_dim": LATENT_DIM,
            "downsampling_ratio": HOP,
            "io_channels": 2,
        },
        "training": training,
    }


def run_side(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the timed update pairs and peak memory in MiB, in this process."""
    import pytorch_lightning as pl
    import torch

    for name in IMPORTS:
        importlib.import_module(name)
    if side == "ear":
        import ear_sat

        ear_sat.register()
    from stable_audio_tools.models import create_model_from_config
    from stable_audio_tools.training import create_training_wrapper_from_config

    batches_per_pair = 2 if side == "host" else 1
    warm_up = WARM_UP[args.device]
    stamps: list[float] = []

    class Stamp(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (batch_idx + 1) % batches_per_pair == 0:
                stamps.append(_now(args.device))

    held = _max_rss()
    torch.manual_seed(0)
    config = model_config(side, args)
    wrapper = create_training_wrapper_from_config(config, create_model_from_config(config))
    batch = (0.1 * torch.randn(args.batch, 2, args.samples), [{}] * args.batch)
    data: Any = [batch] * (batches_per_pair * (warm_up + PAIRS))
    trainer = pl.Trainer(
        accelerator="gpu" if args.device == "cuda" else "cpu",
        devices=1,
        precision=args.precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Stamp()],
    )
    trainer.fit(wrapper, torch.utils.data.DataLoader(data, batch_size=None))
    absolute = torch.cuda.max_memory_allocated() / MIB if args.device == "cuda" else _max_rss()
    return {
        "seconds": [after - before for before, after in zip(stamps[warm_up - 1 :], stamps[warm_up:], strict=False)],
        "peak_memory_mib": absolute - (0 if args.device == "cuda" else held),
        "peak_memory_absolute_mib": absolute,
        "parameters": sum(p.numel() for p in wrapper.autoencoder.parameters()),
        "discriminator_parameters": sum(p.numel() for p in wrapper.discriminator.parameters()),
    }


def run_losses(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each evaluation of the two sides' reconstruction losses, in turn, in this process."""
    import torch
    from stable_audio_tools.training.losses import AuralossLoss, MultiLoss
    from stable_audio_tools.training.losses import auraloss as host

    from ear_sat.losses import LossBundle

    generator = torch.Generator().manual_seed(0)
    target, noise = (0.1 * torch.randn(args.batch, 2, args.samples, generator=generator) for _ in range(2))
    target, preds = target.to(args.device), (target + noise).to(args.device).requires_grad_()
    # As in the host's AutoencoderTrainingWrapper: sum and difference once, left and right at half weight.
    stereo = host.SumAndDifferenceSTFTLoss(sample_rate=SAMPLE_RATE, **host_spectral_config())
    single = host.MultiResolutionSTFTLoss(sample_rate=SAMPLE_RATE, **host_spectral_config())
    host_losses = MultiLoss(
        [AuralossLoss(stereo, target_key="reals", input_key="decoded", name="mrstft", weight=1.0)]
        + [
            AuralossLoss(single, f"decoded_{side}", f"reals_{side}", name=side, weight=0.5)
            for side in ("left", "right")
        ]
    ).to(args.device)
    bundle = LossBundle.from_config(EAR_TERMS, SAMPLE_RATE).to(args.device)

    def evaluate_host() -> Any:
        signals = {"decoded": preds, "reals": target}
        halves = {f"{k}_{s}": v[:, i : i + 1] for k, v in signals.items() for i, s in enumerate(("left", "right"))}
        return host_losses({**signals, **halves})[0]

    sides: dict[str, Callable[[], Any]] = {"host": evaluate_host, "ear": lambda: bundle(preds, target).total}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for call in range(WARM_UP[args.device] + LOSS_CALLS * args.repeats):
        for side, evaluate in sides.items():
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
    """Largest memory of this process so far, MiB; the kernel counts KiB (macOS: bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def run_child(args: argparse.Namespace) -> None:
    """Runs what ``--side`` names; the last line of standard output is the result."""
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device; use --device cpu")
    if args.threads:
        torch.set_num_threads(args.threads)
    result = run_losses(args) if args.side == "losses" else run_side(args.side, args)
    result["threads"] = torch.get_num_threads()
    result["device"] = torch.cuda.get_device_name() if args.device == "cuda" else None
    print("\n" + json.dumps(result), flush=True)


def spawn(side: str, argv: list[str]) -> dict[str, Any]:
    """Result of ``--side`` in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), *argv, "--side", side]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(
            f"the process of side '{side}' ended with code {done.returncode}; smaller --channels, --batch or --samples "
            f"need less memory; its last words:\n{done.stderr.strip()[-2000:]}"
        )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compare(host: dict[str, Any], ear: dict[str, Any]) -> dict[str, Any]:
    """Both sides with their medians, and the ratios: host time / our time, our memory / host memory."""
    for side in (host, ear):
        side["median_seconds"] = statistics.median(side["seconds"])
        if "peak_memory_mib" in side:
            side["median_peak_memory_mib"] = statistics.median(side["peak_memory_mib"])
    ratios = {"speed_ratio": host["median_seconds"] / ear["median_seconds"]}
    if "peak_memory_mib" in host:
        ratios["memory_ratio"] = ear["median_peak_memory_mib"] / host["median_peak_memory_mib"]
    return {"host": host, "ear": ear, **ratios}


def bench_step(args: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(args.repeats):
        for side in SIDES:
            runs[side].append(spawn(side, argv))
    sides = {
        side: {
            "seconds": [value for child in children for value in child["seconds"]],
            **{key: [child[key] for child in children] for key in ("peak_memory_mib", "peak_memory_absolute_mib")},
            **{key: children[0][key] for key in ("parameters", "discriminator_parameters", "threads", "device")},
        }
        for side, children in runs.items()
    }
    return compare(sides["host"], sides["ear"])


def bench_losses(args: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    child = spawn("losses", argv)
    return {**compare(child["host"], child["ear"]), "threads": child["threads"], "device": child["device"]}


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: version(name) for name in ("torch", "stable-audio-tools", "pytorch-lightning")}
    return {"cpu": names[0] if names else platform.processor(), "cores": cores, **versions}


def check(args: argparse.Namespace) -> list[str]:
    """The benchmarks asked for, after checking every argument."""
    only = [name.strip() for name in args.only.split(",")]
    for name in only:
        if name not in BENCHMARKS:
            raise UserError(f"unknown benchmark '{name}' in --only; valid: {', '.join(BENCHMARKS)}")
    for name in ("repeats", "channels", "filters", "batch", "samples", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be 1 or more, not {value}")
    if args.samples % HOP or args.samples < 2 * HOP:
        raise UserError(f"--samples must be a multiple of {HOP} and at least {2 * HOP}, not {args.samples}")
    if args.json is not None and not args.json.resolve().parent.is_dir():
        raise UserError(f"no such folder: {args.json.resolve().parent}; create it, or give --json another path")
    for package in ("stable_audio_tools", "pytorch_lightning"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f'{package} is not installed; run: pip install "ear-sat[sat]"')
    return only


def report(results: dict[str, Any], args: argparse.Namespace) -> None:
    rows = []
    for name in (n for n in BENCHMARKS if n in results):
        result = results[name]
        memory = (result[side].get("median_peak_memory_mib") for side in SIDES)
        speed = result["speed_ratio"]
        rows.append(
            [name, *(result[s]["median_seconds"] for s in SIDES), speed, 1 / speed, *memory, result.get("memory_ratio")]
        )
    columns = ["", "host s", "ear s", "host/ear time", "ear/host time", "host MiB", "ear MiB", "ear/host memory"]
    about = results["machine"]
    print_table(
        f"batch {args.batch} × {args.samples} stereo samples, {args.channels} channels, {args.filters} filters",
        columns,
        rows,
        notes=[
            ", ".join(f"{key} {value}" for key, value in {**about, "precision": args.precision}.items()),
            "Medians. step: one generator and one discriminator update; memory is the peak above the imports"
            + (" (allocated on the GPU)." if args.device == "cuda" else "."),
            "losses: every term of ours against the host's spectral losses, forward and backward, float32.",
        ],
    )


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    try:
        only = check(args)
        if args.side:
            run_child(args)
            return 0
        results: dict[str, Any] = {"settings": {**vars(args), "json": None}, "machine": machine()}
        for name, bench in (("step", bench_step), ("losses", bench_losses)):
            if name in only:
                results[name] = bench(args, argv)
                sample = results[name]["host"] if name == "step" else results[name]
                results["machine"] |= {"threads": sample["threads"], "gpu": sample["device"]}
        report(results, args)
        if args.json is not None:
            args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
