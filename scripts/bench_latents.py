"""The part ``latents`` of bench.py: what the latent options of training cost in a generator's pass."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

from bench_machine import WARM_UP, now
from bench_step import EAR_TERMS, SAMPLE_RATE, autoencoder_config


def run_latents(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of encoding, decoding, losses and backward with each option, in turn, in this process."""
    import torch

    from ear_sat.losses import LossBundle
    from ear_sat.models import Autoencoder
    from ear_sat.training.latents import Equivariance, altered

    torch.manual_seed(0)
    about = {"model_type": "autoencoder", "sample_rate": SAMPLE_RATE, "sample_size": args.samples, "audio_channels": 2}
    model = Autoencoder.from_config({**about, "model": autoencoder_config("ear", args.channels)}).to(args.device)
    bundle = LossBundle.from_config(EAR_TERMS, SAMPLE_RATE).to(args.device)
    reals = 0.1 * torch.randn(args.batch, 2, args.samples, device=args.device)
    options = {
        "none": (0.0, None),
        "latent_noise 0.1": (0.1, None),
        "equivariance, gain": (0.0, Equivariance(1.0, gain_db=(-6, 6))),
        "equivariance, time 2": (0.0, Equivariance(1.0, time=[2])),
    }
    seconds: dict[str, list[float]] = {name: [] for name in options}
    for call in range(WARM_UP[args.device] + args.repeats):
        for name, (noise, equivariance) in options.items():
            start = now(args.device)
            players = SimpleNamespace(latent_noise=noise, equivariance=equivariance)
            latents, target = altered(players, model.encode(reals), reals)
            decoded = model.decode(latents)
            bundle(decoded, target[..., : decoded.shape[-1]]).total.backward()
            model.zero_grad()
            if call >= WARM_UP[args.device]:
                seconds[name].append(now(args.device) - start)
    return {"seconds": seconds}
