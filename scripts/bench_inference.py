"""The parts ``inference`` and ``curve`` of bench.py: encoding and decoding by the full 44.1 kHz network."""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path
from typing import Any

from bench_machine import now, peak_memory, timed
from bench_step import HOP, SAMPLE_RATE, autoencoder_config

#: Width of the released network.
CHANNELS = 128
#: Encodings and decodings timed in each process.
TIMES = 2
#: Lengths in seconds at batch 1, and batches at 2 s, of the curve.
LENGTHS, BATCHES = (1, 2, 4, 8, 16, 32), (1, 2, 4)


def ear_model(args: argparse.Namespace, precision: str) -> Any:
    """The network of model_configs/ear_vae.json as the commands use it."""
    import torch

    from ear_sat.models import Autoencoder, optimize_for_inference

    config = json.loads((Path(__file__).parents[1] / "model_configs" / "ear_vae.json").read_text(encoding="utf-8"))
    config["model"]["encoder"]["config"]["channels"] = config["model"]["decoder"]["config"]["channels"] = args.width
    torch.manual_seed(0)
    model = Autoencoder.from_config(config).eval().to(args.device)
    return optimize_for_inference(model, precision, args.compile)


def clip(args: argparse.Namespace, seconds: float, batch: int = 1) -> Any:
    """Noise of a whole number of latent frames."""
    import torch

    torch.manual_seed(0)
    return 0.1 * torch.randn(batch, 2, max(1, round(seconds * SAMPLE_RATE / HOP)) * HOP).to(args.device)


def run_inference(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds to encode and decode one clip, in this process; ``side`` is host, 32 or bf16.

    Ours goes the way of ``ear-sat reconstruct``, in chunks; its decoder has the transformer, which the host's has not.
    """
    import torch
    from stable_audio_tools.models.factory import create_model_from_config

    from ear_sat.compute import true_float32

    x = clip(args, args.seconds)
    held = 0.0 if args.device == "cuda" else peak_memory(args.device)
    start = now(args.device)
    if side == "host":
        about = {"model_type": "autoencoder", "sample_rate": SAMPLE_RATE, "sample_size": x.shape[-1]}
        host = create_model_from_config({**about, "model": autoencoder_config("host", args.width)})
        host = host.eval().requires_grad_(False).to(args.device)

        def call() -> Any:
            return host.decode(host.encode(x))

    else:
        model = ear_model(args, side)

        def call() -> Any:
            return model.reconstruct(x, SAMPLE_RATE)

    with torch.inference_mode(), true_float32():
        built, begin = now(args.device) - start, now(args.device)
        call()
        first = now(args.device) - begin
        seconds = timed(call, args.device, TIMES)
    return {
        "seconds": seconds,
        "build_seconds": built,
        "first_seconds": first,
        "peak_memory_mib": peak_memory(args.device) - held,
        "audio_seconds": x.shape[-1] / SAMPLE_RATE,
    }


def run_curve(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of our float32 encoding and decoding, whole clips at once, for growing lengths and batches."""
    import torch
    from bench_memory import PeakMemory

    model, points = ear_model(args, "32"), []
    with torch.inference_mode():
        for seconds, batch in [*((length, 1) for length in LENGTHS), *((2, batch) for batch in BATCHES[1:])]:
            x = clip(args, seconds, batch)

            def call(x: torch.Tensor = x) -> object:
                return model.decode(model.encode(x))

            point = {"audio_seconds": seconds, "batch": batch, "seconds": min(timed(call, args.device, 2))}
            peak = PeakMemory(args.device)
            peak.start()
            call()
            peak.stop()
            points.append(point | {"peak_memory_mib": peak.mib})
            del x, call
            gc.collect()
    return {"points": points}
