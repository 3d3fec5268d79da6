"""The part ``step`` of bench.py: one generator and one discriminator update of either side, and where the time goes."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from bench_machine import WARM_UP, now, peak_memory

import ear_sat
from ear_sat.host.compat import gradient_statistics
from ear_sat.report.tables import print_table

SAMPLE_RATE, LATENT_DIM, HOP = 44100, 64, 1024
STRIDES = [2, 4, 4, 4, 8]
#: Update pairs timed in each process.
PAIRS = 2


def stft_lists(sizes: str, hops: str, windows: list[int]) -> dict[str, Any]:
    """The host's three lists of STFT settings under its names for the first two; hops are a quarter of the windows."""
    return {sizes: windows, hops: [window // 4 for window in windows], "win_lengths": windows}


#: The host's stock windows.
DISCRIMINATOR_WINDOWS, LOSS_WINDOWS = [2048, 1024, 512, 256, 128], [2048, 1024, 512, 256, 128, 64, 32]
HOST_SPECTRAL = stft_lists("fft_sizes", "hop_sizes", LOSS_WINDOWS) | {"perceptual_weighting": True}
#: Every term and part that training uses, with their default settings: the same windows, mid, side, left and right, K.
EAR_TERMS: dict[str, Any] = {
    "magnitude": {"type": "ear_magnitude", "weights": {"log": 1.0, "convergence": 1.0}},
    "correlation": {"type": "ear_correlation", "weights": {"correlation": 1.0}},
    "phase_derivative": {"type": "ear_phase_derivative", "weights": {"if": 0.2, "gd": 0.2}},
}
#: The host's ``dac`` as the paper compares it: multi-period and multi-band, its defaults.
DAC: dict[str, Any] = {}
#: Sides of ours that are compared with one another.
ADVERSARIES = {
    "lsgan": "ear",
    "hinge": "ear-hinge",
    "relativistic": "ear-relativistic",
    "dac alone": "ear-dac",
    "combined: ours and dac": "ear-combined",
    "lsgan, balanced, measured in every round": "ear-balance",
}
#: What either side imports sooner or later; imported first, so that this memory counts on neither.
HOST_IMPORTS = ("models.factory", "training.factory", "training.autoencoders", "models.encodec", "data.dataset")
IMPORTS = (*(f"stable_audio_tools.{name}" for name in HOST_IMPORTS), "ear_sat.training.factory", "torch._dynamo")


def autoencoder_config(side: str, channels: int) -> dict[str, Any]:
    """The autoencoder of one side, without the transformer, which the host has not."""
    kind = {"host": ("oobleck", "oobleck", "vae"), "ear": ("ear_encoder", "ear_decoder", "ear_vae")}[side]
    width = {"channels": channels, "c_mults": [1, 2, 4, 8, 16], "strides": STRIDES, "use_snake": True}
    decoder = {"out_channels": 2, "latent_dim": LATENT_DIM, "final_tanh": False, **width}
    return {
        "encoder": {"type": kind[0], "config": {"in_channels": 2, "latent_dim": 2 * LATENT_DIM, **width}},
        "decoder": {"type": kind[1], "config": decoder},
        "bottleneck": {"type": kind[2]},
        **{"latent_dim": LATENT_DIM, "downsampling_ratio": HOP, "io_channels": 2},
    }


def model_config(side: str, args: argparse.Namespace, rounds: int) -> dict[str, Any]:
    """The config of one side: the host's stock training values, or ours, at the same sizes."""
    layers: dict[str, Any] = {"filters": args.filters, "kernel_size": [3, 9], "stride": [1, 1], "dilations": [1, 2, 4]}
    training: dict[str, Any] = {"use_ema": True}
    if side == "host":
        discriminator = "encodec"
        layers |= stft_lists("n_ffts", "hop_lengths", DISCRIMINATOR_WINDOWS)
        losses: dict[str, Any] = {
            "spectral": {"type": "mrstft", "config": HOST_SPECTRAL, "weights": {"mrstft": 1.0}},
            "time": {"type": "l1", "config": {}, "weights": {"l1": 0.0}},
        }
    else:
        discriminator = "ear_mrstft"
        layers |= {"windows": DISCRIMINATOR_WINDOWS}
        if side == "ear-bf16":
            layers["precision"] = "bf16"
        if side in ("ear-hinge", "ear-relativistic"):
            layers["loss"] = side.removeprefix("ear-")
        if side == "ear-dac":
            discriminator, layers = "dac", DAC
        if side == "ear-combined":
            members = [{"type": "ear_mrstft", "config": layers}, {"type": "dac", "config": DAC}]
            discriminator, layers = "combined", {"discriminators": members}
        if side == "ear-balance":  # measured in every round: the most it can cost
            shares = {"magnitude": 0.5, "correlation": 0.3, "discriminator": 0.2}
            training |= {"balance": {"type": "gradient", "every": 1, "shares": shares}}
        losses = EAR_TERMS
        # Rounds that measure each term's gradient are rare and not the host's habit: none here.
        training |= {"type": "ear", "update": "both", "gradient_log_every": 0, "log_every": rounds}
    for player, rate in (("autoencoder", 1.5e-4), ("discriminator", 3e-4)):
        adamw = {"type": "AdamW", "config": {"lr": rate, "betas": [0.8, 0.99], "weight_decay": 1e-3}}
        training.setdefault("optimizer_configs", {})[player] = {"optimizer": adamw}
    adversarial = {"adversarial": 0.1, "feature_matching": 5.0}
    training["loss_configs"] = {
        "discriminator": {"type": discriminator, "config": layers, "weights": adversarial},
        "bottleneck": {"type": "kl", "weights": {"kl": 1e-4}},
        **losses,
    }
    about = {"model_type": "autoencoder", "sample_rate": SAMPLE_RATE, "sample_size": args.samples, "audio_channels": 2}
    return {**about, "model": autoencoder_config(side.split("-")[0], args.channels), "training": training}


def run_step(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the timed update pairs and peak memory in MiB, in this process; ``side`` host or one of ours."""
    import torch

    modules = [import_module(name) for name in IMPORTS]
    held = 0.0 if args.device == "cuda" else peak_memory(args.device)
    rounds = WARM_UP[args.device] + PAIRS
    wrapper, stamps, begin = _train(modules, side, args, rounds)
    seconds = [end - start for start, end in zip([begin, *stamps], stamps, strict=False)]
    peak = peak_memory(args.device)
    log = getattr(wrapper, "last_log", {})
    return {
        "seconds": seconds[WARM_UP[args.device] :],
        "first_seconds": seconds[0],
        "peak_memory_mib": peak - held,
        "peak_memory_absolute_mib": peak,
        "parameters": sum(p.numel() for p in wrapper.autoencoder.parameters()),
        "discriminator_parameters": sum(p.numel() for p in wrapper.discriminator.parameters()),
        "losses": {key: value for key, value in log.items() if key.startswith(("train/raw/", "train/loss/"))},
        "threads": torch.get_num_threads(),
    }


def _train(modules: list[Any], side: str, args: argparse.Namespace, rounds: int, profiler: Any = None) -> Any:
    """Trains ``rounds`` rounds; the wrapper, the time at the end of each and at the beginning. The last is profiled."""
    import pytorch_lightning as pl
    import torch

    models, factory = modules[:2]
    if side != "host":
        ear_sat.register()
    elif args.device != "cuda":
        gradient_statistics.apply()  # the one mend without which 0.0.20's wrapper trains on CUDA only
    # The host alternates its players by batch, ours updates both on one.
    batches = 2 if side == "host" else 1
    stamps: list[float] = []

    class Stamp(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if profiler is not None and batch_idx == (rounds - 1) * batches:
                profiler.start()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (batch_idx + 1) % batches == 0:
                stamps.append(now(args.device))
            if profiler is not None and len(stamps) == rounds:
                profiler.stop()

    torch.manual_seed(0)
    config = model_config(side, args, rounds)
    wrapper = factory.create_training_wrapper_from_config(config, models.create_model_from_config(config))
    if args.compile and side != "host":
        for network in (wrapper.autoencoder.encoder, wrapper.autoencoder.decoder, wrapper.discriminator):
            network.compile()
    batch: Any = (0.1 * torch.randn(args.batch, 2, args.samples), [{}] * args.batch)
    settings: dict[str, Any] = {"accelerator": args.device, "devices": 1, "precision": args.precision, "max_epochs": 1}
    settings |= dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(**settings, callbacks=[Stamp()])
    begin = now(args.device)
    trainer.fit(wrapper, torch.utils.data.DataLoader([batch] * (rounds * batches), batch_size=None))
    return wrapper, stamps, begin


def run_profile(args: argparse.Namespace) -> dict[str, Any]:
    """Profiles one round of ours after the warm-up; a trace and a table of parts go to the folder ``args.profile``."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    modules = [import_module(name) for name in IMPORTS]
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if args.device == "cuda" else [])]
    profiler = profile(activities=activities)
    wrapper, stamps, _ = _train(modules, "ear", args, WARM_UP[args.device] + 1, profiler)
    profiler.export_chrome_trace(str(Path(args.profile) / "step_trace.json"))
    events = profiler.key_averages()

    def seconds(event: Any) -> float:
        time = event.device_time_total if args.device == "cuda" else event.cpu_time_total
        return float(time) / 1e6

    def own(event: Any) -> float:
        time = event.self_device_time_total if args.device == "cuda" else event.self_cpu_time_total
        return float(time) / 1e6

    parts = {e.key.removeprefix("ear_sat: "): seconds(e) for e in events if e.key.startswith("ear_sat: ")}
    operations = {e.key: own(e) for e in sorted(events, key=own, reverse=True)[:12] if not e.key.startswith("ear_sat")}
    x = torch.zeros(args.batch, 2, args.samples, device=wrapper.device)
    forward = {}
    for name, network in (("generator", wrapper), ("discriminator", wrapper.discriminator)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x)
        forward[name] = counter.get_total_flops() / 1e9
    return {
        "parts": parts,
        "operations": operations,
        "seconds": stamps[-1] - stamps[-2],
        "forward_gflop": forward,
        # Generator: forward, gradients of inputs and of weights. Discriminator: all three on real and on fake audio,
        # and the gradient of the generator's losses by the fake audio. (First layers need less.)
        "gflop": 3 * forward["generator"] + 7 * forward["discriminator"],
        "threads": torch.get_num_threads(),
    }


def report_profile(result: dict[str, Any], args: argparse.Namespace, ceiling: float) -> None:
    """Prints the tables of :func:`run_profile` and writes them beside the trace."""
    total = sum(result["parts"].values())
    rows = [[name, value, 100 * value / total] for name, value in result["parts"].items()]
    floor = result["gflop"] / ceiling
    notes = [
        f"The round took {result['seconds']:.3g} s under the profiler. Its convolutions are {result['gflop']:.4g} "
        f"GFLOP: {floor:.3g} s at the {ceiling:.4g} GFLOP/s of the machine's fastest convolution.",
        f"Trace for chrome://tracing or ui.perfetto.dev: {Path(args.profile) / 'step_trace.json'}",
    ]
    print_table("Where a round of training goes", ["part", "s", "%"], rows, notes)
    print_table("Operations", ["operation", "s"], [list(item) for item in result["operations"].items()])
