"""The part ``losses`` of bench.py: all of our reconstruction losses against the host's spectral ones."""

from __future__ import annotations

import argparse
from typing import Any

from bench_machine import WARM_UP, now
from bench_step import EAR_TERMS, HOST_SPECTRAL, SAMPLE_RATE

#: Evaluations per repeat.
CALLS = 4


def run_losses(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each forward and backward of the two sides' losses, in turn, in this process."""
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
    seconds: dict[str, list[float]] = {side: [] for side in evaluations}
    for call in range(WARM_UP[args.device] + CALLS * args.repeats):
        for side, evaluate in evaluations.items():
            start = now(args.device)
            torch.autograd.grad(evaluate(), preds)
            if call >= WARM_UP[args.device]:
                seconds[side].append(now(args.device) - start)
    return {"losses": {side: {"seconds": values} for side, values in seconds.items()}}
