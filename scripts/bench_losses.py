"""The part ``losses`` of bench.py: our reconstruction losses, also in their other forms, against the host's."""

from __future__ import annotations

import argparse
from typing import Any

from bench_machine import WARM_UP, now
from bench_step import EAR_TERMS, HOST_SPECTRAL, SAMPLE_RATE

#: What each form changes in an entry of the default bundle.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "adaptive log": ("magnitude", {"config": {"log_form": "adaptive"}}),
    "contrast for convergence": ("magnitude", {"weights": {"log": 1.0, "contrast": 1.0}}),
    "complex as well": ("correlation", {"weights": {"correlation": 1.0, "complex": 1.0}}),
    "phasors": ("phase_derivative", {"config": {"form": "phasor"}}),
}
#: Evaluations per repeat.
CALLS = 4


def run_losses(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each forward and backward of the two sides' losses and of each form, in turn, in this process."""
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
    configs = {"losses": EAR_TERMS}
    for form, (name, change) in FORMS.items():
        configs[f"losses, {form}"] = {**EAR_TERMS, name: {**EAR_TERMS[name], **change}}
    bundles = {row: LossBundle.from_config(terms, SAMPLE_RATE).to(args.device) for row, terms in configs.items()}
    host.to(args.device)

    def evaluate_host() -> Any:
        cuts = {"": slice(0, 2), "_left": slice(0, 1), "_right": slice(1, 2)}
        signals = {"decoded": preds, "reals": target}
        return host({key + name: x[:, cut] for key, x in signals.items() for name, cut in cuts.items()})[0]

    def evaluate(side: str) -> Any:
        return evaluate_host() if side == "host" else bundles[side](preds, target).total

    seconds: dict[str, list[float]] = {side: [] for side in ("host", *bundles)}
    for call in range(WARM_UP[args.device] + CALLS * args.repeats):
        for side, values in seconds.items():
            start = now(args.device)
            torch.autograd.grad(evaluate(side), preds)
            if call >= WARM_UP[args.device]:
                values.append(now(args.device) - start)
    return {row: {"host": {"seconds": seconds["host"]}, "ear": {"seconds": seconds[row]}} for row in bundles}
