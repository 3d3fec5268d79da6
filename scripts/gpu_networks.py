"""The networks in every precision against float32 on the CPU: part of the section ``equality``."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from gpu_precision import BF16, FP16, ROUNDING, Precision, precisions
from gpu_section import Section
from gpu_setting import SEED, Setting, cosine, roughen, snr_db
from torch import Tensor

from ear_sat.compute import true_float32
from ear_sat.losses.adversarial import generator_loss
from ear_sat.models import Autoencoder, MultiResolutionSTFTDiscriminator, optimize_for_inference

AUTOENCODER, INFERENCE, DISCRIMINATOR = "Autoencoder in training", "Inference modes", "Discriminator"
#: Precision of inference → least SNR of latents and audio, and why.
INFERENCE_DB = {"32": (90.0, ROUNDING), "bf16": (26.0, BF16), "16": (44.0, FP16)}


@dataclass(frozen=True)
class Passed:
    """What an autoencoder makes of a clip: latents, audio, and the gradient of all its weights as one vector."""

    latents: Tensor
    decoded: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Reference:
    """An autoencoder of random weights on the CPU, a clip of music (1, 2, time), and what float32 makes of it."""

    model: Autoencoder
    music: Tensor
    passed: Passed


def create_reference(setting: Setting) -> Reference:
    torch.manual_seed(SEED)
    model = Autoencoder.from_config(setting.config())
    model.bottleneck.sample = "never"  # the posterior's mean is decoded
    roughen(model)
    music = setting.music()[0][:1, :, : min(setting.samples, 32768)]
    return Reference(model, music, pass_through(model, music))


def pass_through(model: Autoencoder, music: Tensor) -> Passed:
    """Forward, and backward from a gradient of noise at the audio."""
    pull = torch.randn(music.shape, generator=torch.Generator().manual_seed(SEED)).to(music.device)
    latents = model.encode(music)
    decoded = model.decode(latents)
    weights = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad((decoded.float() * pull).sum(), weights, allow_unused=True)
    flat = torch.cat([g.flatten().float() for g in gradients if g is not None])
    return Passed(latents.detach().float(), decoded.detach().float(), flat)


def compare_training(section: Section, setting: Setting, reference: Reference) -> dict[str, Tensor]:
    """The network as it is trained, under autocast; returns the decoded audio of each precision, on the CPU."""
    decoded = {}
    model = copy.deepcopy(reference.model).to(setting.device)
    for precision in section.within_cap(precisions(setting.device), lambda p: f"autoencoder in {p.name}"):
        with precision.open(setting.device):
            passed = pass_through(model, reference.music.to(setting.device))
        _check(section, AUTOENCODER, f"latents, {precision.name}", passed.latents, reference.passed.latents, precision)
        _check(section, AUTOENCODER, f"audio, {precision.name}", passed.decoded, reference.passed.decoded, precision)
        angle = cosine(passed.gradient, reference.passed.gradient)
        what = f"gradient of all weights, {precision.name}"
        section.check(AUTOENCODER, what, angle, precision.weights_cosine, precision.reason, "cosine", least=True)
        decoded[precision.name] = passed.decoded.cpu()
    return decoded


def compare_inference(section: Section, setting: Setting, reference: Reference, compiled: bool) -> None:
    """The network as the commands use it; the decoder gets the reference's latents."""
    suffix = ", compiled" if compiled else ""
    for name in section.within_cap(INFERENCE_DB, lambda n: f"inference in {n}{suffix}"):
        model = optimize_for_inference(copy.deepcopy(reference.model).eval().to(setting.device), name, compiled)
        with torch.inference_mode(), true_float32():
            latents = model.encode(reference.music.to(setting.device))
            audio = model.decode(reference.passed.latents.to(setting.device))
        least, reason = INFERENCE_DB[name]
        pairs = (("latents", latents, reference.passed.latents), ("audio", audio, reference.passed.decoded))
        for what, value, expected in pairs:
            section.check(
                INFERENCE, f"{what}, {name}{suffix}", snr_db(value, expected), least, reason, "dB", least=True
            )


def create_discriminator(setting: Setting, precision: str) -> MultiResolutionSTFTDiscriminator:
    torch.manual_seed(SEED)
    config = setting.config()["training"]["loss_configs"]["discriminator"]["config"]
    return MultiResolutionSTFTDiscriminator(**{**config, "precision": precision})


def compare_discriminator(section: Section, setting: Setting, music: Tensor) -> None:
    """Logits and features, the worst of all resolutions and layers, and the gradient of all weights."""
    cpu = create_discriminator(setting, "training")
    logits, features, gradient = _judged(cpu, music)
    runs = [("training", p) for p in precisions(setting.device)]
    bf16 = next(p for p in precisions(setting.device) if p.name == "bf16-mixed")
    runs.append(("bf16", bf16))
    for own, precision in section.within_cap(runs, lambda r: f"discriminator in {r[0]}, {r[1].name}"):
        discriminator = create_discriminator(setting, own).to(setting.device)
        plain = own == "bf16"  # computes in bfloat16 whatever the run has
        run = precisions(setting.device)[0] if plain else precision
        with run.open(setting.device):
            got = _judged(discriminator, music.to(setting.device))
        name = 'its own "bf16" in a run in 32' if plain else precision.name
        for what, values, expected in (("logits", got[0], logits), ("features", got[1], features)):
            worst = min(snr_db(v, e) for v, e in zip(values, expected, strict=True))
            least = precision.audio_db
            section.check(DISCRIMINATOR, f"{what}, {name}", worst, least, precision.reason, "dB", least=True)
        angle, least = cosine(got[2], gradient), precision.weights_cosine
        section.check(
            DISCRIMINATOR, f"gradient of all weights, {name}", angle, least, precision.reason, "cosine", least=True
        )


def _judged(
    discriminator: MultiResolutionSTFTDiscriminator, music: Tensor
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Logits, features of all layers, and the gradient of (1 − D)², the loss on real audio, by all weights."""
    output = discriminator(music)
    gradients = torch.autograd.grad(generator_loss(output.logits), list(discriminator.parameters()))
    features = [layer.detach() for layers in output.features for layer in layers]
    return [x.detach() for x in output.logits], features, torch.cat([g.flatten().float() for g in gradients])


def _check(section: Section, table: str, what: str, value: Tensor, reference: Tensor, precision: Precision) -> None:
    section.check(table, what, snr_db(value, reference), precision.audio_db, precision.reason, "dB", least=True)
