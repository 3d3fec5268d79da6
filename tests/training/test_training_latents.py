"""Changes of latents in training, and a KL term that keeps to its target."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("pytorch_lightning")

from ear_sat.errors import UserError
from ear_sat.models import VAEBottleneck
from ear_sat.training.kl_target import RATE, SPAN, KLTarget
from ear_sat.training.latents import Equivariance, altered, with_noise

HOP = 16


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def players(noise: float = 0.0, equivariance: Equivariance | None = None) -> Any:
    return SimpleNamespace(latent_noise=noise, equivariance=equivariance)


def batch(clips: int = 4, frames: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(clips, 8, frames), torch.randn(clips, 2, frames * HOP)


def test_off_is_untouched_and_draws_nothing() -> None:
    latents, reals = batch()
    before = torch.get_rng_state()
    same_latents, same_reals = altered(players(), latents, reals)
    assert same_latents is latents and same_reals is reals
    assert torch.equal(torch.get_rng_state(), before)


def test_the_gain_of_each_clip_is_the_latents_and_the_audios() -> None:
    latents, reals = batch(clips=2000, frames=1)
    changed, audio = Equivariance(1.0, gain_db=(-6, 3))(latents, reals)
    gains = changed / latents
    assert torch.allclose(gains, gains[:, :1, :1].expand_as(gains)) and torch.allclose(audio, gains[:, :1, :1] * reals)
    level = 20 * gains[:, 0, 0].log10()
    assert level.min() >= -6.001 and level.max() <= 3.001
    # Uniform: mean −1.5 dB, standard deviation 9 / √12 dB; four standard errors of 2000 draws.
    error = 9 / math.sqrt(12 * 2000)
    assert level.mean().item() == pytest.approx(-1.5, abs=4 * error)
    assert level.std().item() == pytest.approx(9 / math.sqrt(12), rel=0.05)


@pytest.mark.parametrize("factor", [2, 3])
def test_time_is_means_of_frames_against_audio_of_a_part_of_its_length(factor: int) -> None:
    frames, frequency = 32, 0.02  # cycles per sample
    latents = torch.randn(1, 8, frames)
    tone = torch.sin(2 * math.pi * frequency * torch.arange(frames * HOP))[None, None]
    changed, audio = Equivariance(1.0, time=[factor])(latents, tone)
    whole = frames // factor * factor
    assert torch.allclose(changed, latents[..., :whole].unflatten(-1, (-1, factor)).mean(-1), atol=1e-6)
    assert audio.shape[-1] == math.ceil(frames * HOP / factor) >= changed.shape[-1] * HOP
    expected = torch.sin(2 * math.pi * factor * frequency * torch.arange(audio.shape[-1]))
    inside = slice(20, -20)  # of the filter's length from the ends
    assert (audio[0, 0] - expected)[inside].abs().max() < 10 ** (-50 / 20)


def test_an_equivariant_model_pays_nothing() -> None:
    """Latents that are the means of ``HOP`` samples, repeated: linear, and slow audio is its own reconstruction."""
    reals = torch.sin(2 * math.pi * torch.arange(64 * HOP) / (64 * HOP))[None, None]
    for change, most in ((Equivariance(1.0, gain_db=(-6, 6)), 1e-6), (Equivariance(1.0, time=[2]), 0.05)):
        encoded = nn.functional.avg_pool1d(reals, HOP)
        untouched = (encoded.repeat_interleave(HOP, -1) - reals).abs().mean().item()
        latents, target = change(encoded, reals)
        decoded = latents.repeat_interleave(HOP, -1)
        gain = (latents.square().mean() / encoded.square().mean()).sqrt().item()
        # The steps of the staircase are gain times, or twice, as high.
        bound = untouched * (gain if change.gain_db else 2)
        assert (decoded - target[..., : decoded.shape[-1]]).abs().mean().item() == pytest.approx(bound, rel=most)


def test_a_share_of_the_batches_is_changed_by_every_factor_alike() -> None:
    change = Equivariance(0.25, time=[1, 2, 4])
    latents, reals = batch(1)
    frames = [change(latents, reals)[0].shape[-1] for _ in range(2000)]
    for length, share in ((32, 0.75 + 0.25 / 3), (16, 0.25 / 3), (8, 0.25 / 3)):
        error = math.sqrt(share * (1 - share) / 2000)
        assert frames.count(length) / 2000 == pytest.approx(share, abs=4 * error)
    assert Equivariance(0.0, time=[2])(latents, reals)[0] is latents


def test_each_change_can_be_had_alone() -> None:
    latents, reals = batch()
    lengths = [c(latents, reals)[0].shape[-1] for c in Equivariance(0.5, (-6, 6), [1, 2, 4]).changes()]
    assert lengths == [32, 16, 8]


def test_clips_too_short_for_a_factor_are_refused() -> None:
    change = Equivariance(time=[2, 4])
    change.check_length(4 * HOP, HOP)
    with pytest.raises(UserError, match=f"a clip of sample_size {4 * HOP - 1} has 3; .* sample_size of at least 64"):
        change.check_length(4 * HOP - 1, HOP)


def test_noise_is_as_strong_as_told_and_no_gradient_flows_through_its_strength() -> None:
    latents = (3 * torch.randn(8, 8, 256, dtype=torch.float64) + 5).requires_grad_()
    noisy = with_noise(latents, 0.2)
    noise = (noisy - latents).detach()
    assert noise.std().item() == pytest.approx(0.2 * 3, rel=0.03) and abs(noise.mean()) < 0.03
    (gradient,) = torch.autograd.grad(noisy.sum(), latents)
    assert torch.equal(gradient, torch.ones_like(gradient))
    assert torch.equal(with_noise(torch.full((1, 1, 1), 7.0), 0.2), torch.full((1, 1, 1), 7.0))


def test_the_gradient_of_a_change_is_right() -> None:
    reals, latents = torch.randn(2, 1, 8, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return altered(players(equivariance=Equivariance(1.0, (-6, 6), [2])), x, reals)[0].square().sum()

    assert torch.autograd.gradcheck(loss, latents.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_silence_is_finite_under_autocast(dtype: torch.dtype) -> None:
    latents = torch.zeros(2, 8, 32, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        changed, audio = altered(players(0.1, Equivariance(1.0, (-6, 6), [2])), latents, torch.zeros(2, 2, 32 * HOP))
    changed.float().sum().backward()
    assert changed.isfinite().all() and audio.dtype == torch.float32 and not audio.any()
    assert latents.grad is not None and latents.grad.isfinite().all()


def codec() -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    encoder, decoder = nn.Conv1d(1, 16, 8, 8), nn.ConvTranspose1d(8, 1, 8, 8)
    return encoder, decoder, torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_training_lowers_the_error_of_changed_latents(noise: float) -> None:
    encoder, decoder, optimizer = codec()
    reals = torch.randn(4, 1, 1024).cumsum(-1) / 30
    change = players(noise, None if noise else Equivariance(1.0, (-6, 6), [2]))
    errors = []
    for _ in range(21):
        torch.manual_seed(1)
        latents, target = altered(change, encoder(reals)[:, :8], reals)
        loss = (decoder(latents) - target).square().mean()
        errors.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert errors[-1] < 0.9 * errors[0]


def trained_to(target: float, weight: float, rounds: int) -> tuple[float, float]:
    """Mean nats per latent value over the last 100 rounds, and the weight, of a small model on noise."""
    torch.manual_seed(0)
    encoder, decoder, optimizer = codec()
    bottleneck, kl, reals = VAEBottleneck(), KLTarget(target, 8, weight), torch.randn(4, 1, 512)
    nats = []
    for _ in range(rounds):
        latents, info = bottleneck.encode(encoder(reals), return_info=True)
        loss = (decoder(latents) - reals).square().mean() + kl.weight * info["kl"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        kl.update(info["kl"].item())
        nats.append(info["kl"].item() / 16)
    return sum(nats[-100:]) / 100, kl.weight


def test_the_weight_brings_the_kl_to_its_target() -> None:
    nats, _ = trained_to(0.5, weight=0.03, rounds=300)
    assert nats == pytest.approx(0.5, rel=0.1)  # a fixed weight of 0.03 gives 0.64


@pytest.mark.slow
def test_the_weight_does_not_depend_on_where_it_began() -> None:
    results = [trained_to(0.5, weight, rounds=1500) for weight in (1e-3, 0.03, 1.0)]
    for nats, weight in results:
        assert nats == pytest.approx(0.5, rel=0.03) and weight == pytest.approx(results[0][1], rel=0.05)


def test_steps_and_weight_are_bounded() -> None:
    for nats, direction in ((1e9, 1), (1e-9, -1), (0.0, -1)):
        kl = KLTarget(0.5, 64, 1e-4)
        kl.update(2 * 64 * nats)
        assert math.log(kl.weight / 1e-4) == pytest.approx(direction * RATE)
        for _ in range(3000):
            kl.update(2 * 64 * nats)
        assert kl.weight == pytest.approx(1e-4 * SPAN**direction)
    kl = KLTarget(0.5, 64, 1e-4)
    kl.update(2 * 64 * 0.5 * 1.1)
    assert math.log(kl.weight / 1e-4) == pytest.approx(RATE * math.log(1.1))
