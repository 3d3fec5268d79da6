"""The losses in every precision against float32 on the CPU: part of the section ``equality``."""

from __future__ import annotations

import torch
from gpu_networks import Reference, create_discriminator
from gpu_precision import Precision, precisions
from gpu_section import Section
from gpu_setting import SEED, Setting, cosine
from torch import Tensor

from ear_sat.losses import LossBundle
from ear_sat.losses.adversarial import feature_matching, generator_loss

VALUES, GRADIENTS = "Losses: values", "Losses: gradient at the decoded audio"
#: SNR of the reconstruction that is judged, dB: what a well trained network reaches.
RECONSTRUCTION_DB = 20.0
WINDOW = 512
NEAR_SILENT = "near-silent bins own this term, and the audio's rounding fills them"
WEAK = "rounding turns the phases of weak bins"
FRESH = "features of a fresh discriminator hardly differ, and their own rounding counts as difference"
#: Part of a term → (error, cosine) with 10 or 11 bits, with 8 bits, and why if not for the precision's own reason.
#: About twice what white noise did at the level of the full config's rounding, 52 and 34 dB below the reconstruction.
#: Tensor cores emulated by gpu_arithmetic.py did a tenth of that with 64 channels: less, and it follows the music.
LOW: dict[str, tuple[tuple[float, float], tuple[float, float], str | None]] = {
    "log": ((1.0, 0.3), (30.0, -0.1), NEAR_SILENT),
    "convergence": ((0.005, 0.98), (0.3, 0.6), None),
    "correlation": ((0.1, 0.7), (4.0, 0.1), WEAK),
    "if": ((0.1, 0.7), (1.0, 0.2), WEAK),
    "gd": ((0.1, 0.7), (1.0, 0.2), WEAK),
    "adversarial": ((1e-3, 0.99), (0.01, 0.98), None),
    "feature_matching": ((1.5, 0.3), (5.0, 0.05), FRESH),
}


def compare_losses(section: Section, setting: Setting, reference: Reference, decoded: dict[str, Tensor]) -> None:
    """Values and gradients of every term.

    "same audio" gives both sides the same reconstruction: what differs is the device's arithmetic. In a precision, the
    error that the network made in it (``decoded`` against the reference's) is added to the reconstruction, to scale.
    """
    music = reference.music
    good = imperfect(music)
    expected = _terms(setting, music, good, "cpu", precisions("cpu")[0])
    exact, *_ = every = precisions(setting.device)
    cases = [("same audio", exact, good)]
    scale = good.norm() / reference.passed.decoded.norm()
    cases += [
        (p.name, p, good + scale * (decoded[p.name] - reference.passed.decoded)) for p in every if p.name in decoded
    ]
    for name, precision, audio in section.within_cap(cases, lambda c: f"losses, {c[0]}"):
        for term, (value, gradient) in _terms(setting, music, audio, setting.device, precision).items():
            of_value, of_gradient = expected[term]
            error = abs(value - of_value) / abs(of_value)
            most, least, why = bounds(term, name, precision)
            section.check(VALUES, f"{term}, {name}", error, most, why, "relative", least=False)
            section.check(GRADIENTS, f"{term}, {name}", cosine(gradient, of_gradient), least, why, "cosine", least=True)


def imperfect(music: Tensor) -> Tensor:
    """A reconstruction: an error :data:`RECONSTRUCTION_DB` below the music in each bin, near-silent ones included."""
    window = torch.hann_window(WINDOW)
    spectra = torch.stft(music[0], WINDOW, WINDOW // 4, window=window, return_complex=True)
    noise = torch.randn(spectra.shape, dtype=spectra.dtype, generator=torch.Generator().manual_seed(SEED))
    spectra = spectra * (1 + 10 ** (-RECONSTRUCTION_DB / 20) * noise)
    return torch.istft(spectra, WINDOW, WINDOW // 4, window=window, length=music.shape[-1])[None]


def bounds(term: str, case: str, precision: Precision) -> tuple[float, float, str]:
    """Largest relative error of a term's value, least cosine of its gradient, and why."""
    part = term.rsplit("/", 1)[1]
    if case in ("same audio", "32"):
        return (1e-3, 0.9, FRESH) if part == "feature_matching" else (1e-3, 0.99, precision.reason)
    ten_bits, eight_bits, why = LOW[part]
    error, angle = eight_bits if precision.dtype == torch.bfloat16 else ten_bits
    return error, angle, why or precision.reason


def _terms(
    setting: Setting, music: Tensor, audio: Tensor, device: str, precision: Precision
) -> dict[str, tuple[float, Tensor]]:
    """Term → value, and gradient at ``audio``."""
    bundle = LossBundle.from_config(setting.config()["training"]["loss_configs"], 44100).to(device)
    discriminator = create_discriminator(setting, "training").to(device)
    target, preds = music.to(device), audio.detach().clone().to(device).requires_grad_()
    with precision.open(device):
        terms = dict(bundle(preds, target).raw)
        with torch.no_grad():
            real = discriminator(target)
        fake = discriminator(preds)
        terms["discriminator/adversarial"] = generator_loss(fake.logits)
        terms["discriminator/feature_matching"] = feature_matching(preds=fake.features, target=real.features)
    # As in training, fp16 needs its losses scaled, or the discriminator's gradients underflow.
    scale = 2.0**16 if precision.dtype == torch.float16 else 1.0
    gradients = {
        name: torch.autograd.grad(value * scale, preds, retain_graph=True)[0] / scale for name, value in terms.items()
    }
    return {name: (value.item(), gradients[name].cpu()) for name, value in terms.items()}
